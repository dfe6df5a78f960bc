-- One text for SQLite and PostgreSQL: TEXT and BIGINT only. Digests are hexadecimal digits, documents are JSON, moments are whole
-- seconds since 1970, truth is 0 or 1. Nothing relies on a database's own numbering: numbers that are never used again come from counters.

CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('directive', 0), ('fleet', 0), ('catalogue', 0);

CREATE TABLE sites (
    name TEXT NOT NULL PRIMARY KEY,
    region TEXT NOT NULL,
    -- The site that its clients turn to next, and that its appliances fill from: the next tier.
    upstream TEXT REFERENCES sites (name)
);

-- In the canonical form of their family, bits behind the length zero.
CREATE TABLE prefixes (
    prefix TEXT NOT NULL PRIMARY KEY,
    site TEXT NOT NULL REFERENCES sites (name)
);

CREATE TABLE appliances (
    name TEXT NOT NULL PRIMARY KEY,
    site TEXT NOT NULL REFERENCES sites (name),
    token_sha256 TEXT NOT NULL UNIQUE,
    -- Whether an operator has ordered it to drain, and not yet to serve again.
    withdrawn BIGINT NOT NULL DEFAULT 0,
    -- The enrolment.
    enrolled_at BIGINT,
    release TEXT NOT NULL DEFAULT '',
    serve_urls TEXT NOT NULL DEFAULT '[]',
    admin_url TEXT NOT NULL DEFAULT '',
    capacity_bytes BIGINT NOT NULL DEFAULT 0,
    -- The newest report.
    instance TEXT,
    report_sequence BIGINT NOT NULL DEFAULT 0,
    reported_at BIGINT,
    health TEXT,
    load TEXT,
    inventory_revision BIGINT,
    manifest_sequence BIGINT NOT NULL DEFAULT 0,
    manifest_refused TEXT,
    -- The last verdict, so that a control plane that starts again does not begin by doubting everybody.
    standing TEXT NOT NULL DEFAULT 'unknown'
);

-- What each appliance serves.
CREATE TABLE holdings (
    appliance TEXT NOT NULL REFERENCES appliances (name),
    path TEXT NOT NULL,
    generation BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (appliance, path, generation)
);

CREATE TABLE runs (
    appliance TEXT NOT NULL REFERENCES appliances (name),
    run TEXT NOT NULL,
    ended_at BIGINT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (appliance, run)
);

CREATE TABLE directives (
    id BIGINT NOT NULL PRIMARY KEY,
    appliance TEXT NOT NULL REFERENCES appliances (name),
    document TEXT NOT NULL,
    ordered_at BIGINT NOT NULL,
    done_at BIGINT,
    failure TEXT
);
CREATE INDEX directives_by_appliance ON directives (appliance, id);

CREATE TABLE titles (
    name TEXT NOT NULL PRIMARY KEY,
    published_at BIGINT NOT NULL,
    release_at BIGINT,
    expires_at BIGINT,
    pinned BIGINT NOT NULL,
    similar_to TEXT,
    -- Lists of texts, as JSON.
    tags TEXT NOT NULL DEFAULT '[]',
    seasons TEXT NOT NULL DEFAULT '[]'
);

-- A title without a region is for all of them.
CREATE TABLE title_regions (
    title TEXT NOT NULL REFERENCES titles (name),
    region TEXT NOT NULL,
    PRIMARY KEY (title, region)
);

-- All generations; of each path the highest is what appliances should hold.
CREATE TABLE bundles (
    path TEXT NOT NULL,
    generation BIGINT NOT NULL,
    title TEXT NOT NULL REFERENCES titles (name),
    bytes BIGINT NOT NULL,
    objects BIGINT NOT NULL,
    descriptor TEXT NOT NULL,
    PRIMARY KEY (path, generation)
);
CREATE INDEX bundles_by_title ON bundles (title);

CREATE TABLE descriptors (
    sha256 TEXT NOT NULL PRIMARY KEY,
    content TEXT NOT NULL
);

-- What clients of a region asked for on a day, by directory; only directories of the catalogue.
CREATE TABLE demand (
    region TEXT NOT NULL,
    path TEXT NOT NULL,
    day BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    absent BIGINT NOT NULL,
    PRIMARY KEY (region, path, day)
);
CREATE INDEX demand_by_day ON demand (day);

-- What all directories of a site were asked for on a day: how much of its region's demand is there.
CREATE TABLE site_demand (
    site TEXT NOT NULL REFERENCES sites (name),
    day BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (site, day)
);

-- Who reported on which day: a day that nobody reported is no day on which nobody watched.
CREATE TABLE reported_days (
    appliance TEXT NOT NULL REFERENCES appliances (name),
    day BIGINT NOT NULL,
    PRIMARY KEY (appliance, day)
);

-- The newest manifest of each appliance, as it is signed.
CREATE TABLE manifests (
    appliance TEXT NOT NULL PRIMARY KEY REFERENCES appliances (name),
    sequence BIGINT NOT NULL,
    issued_at BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    -- Of what it holds, whatever the order, and of its entries as they are: a new manifest is only made where these differ.
    members_sha256 TEXT NOT NULL,
    entries_sha256 TEXT NOT NULL,
    document TEXT NOT NULL
);
