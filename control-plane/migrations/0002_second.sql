-- What an appliance's links carry towards clients, as its operator says; 0: nothing was said.
ALTER TABLE appliances ADD COLUMN link_bits_per_second BIGINT NOT NULL DEFAULT 0;

-- When the newest report was made, by the appliance's clock: an older number that was made later is of a state folder that was put back.
ALTER TABLE appliances ADD COLUMN told_at BIGINT NOT NULL DEFAULT 0;

-- When the path was first published: a title gets new episodes, languages and representations.
ALTER TABLE bundles ADD COLUMN published_at BIGINT NOT NULL DEFAULT 0;
UPDATE bundles SET published_at = (SELECT titles.published_at FROM titles WHERE titles.name = bundles.title);

-- Where the appliance stood that day.
ALTER TABLE reported_days ADD COLUMN region TEXT NOT NULL DEFAULT '';
UPDATE reported_days SET region = (SELECT sites.region FROM sites JOIN appliances ON appliances.site = sites.name
    WHERE appliances.name = reported_days.appliance);
CREATE INDEX reported_days_by_region ON reported_days (region, day);

-- Changes of sites and prefixes; when planning last succeeded, in seconds since 1970.
INSERT INTO counters (name, value) VALUES ('sites', 0), ('planned_at', 0);
