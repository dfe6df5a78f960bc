-- The directories that a title was published as: what lies below them is the title's, and more of it than its bundles may be there.
-- Titles that are here already get theirs when they are published again.
CREATE TABLE title_directories (
    title TEXT NOT NULL REFERENCES titles (name),
    path TEXT NOT NULL,
    -- The number of the catalogue's change that last published it there. The lowest are forgotten first.
    catalogue_change BIGINT NOT NULL,
    PRIMARY KEY (title, path)
);
