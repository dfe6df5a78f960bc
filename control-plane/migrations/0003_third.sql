-- Media manifests of titles as they were published, for what is made of them for players: HLS multivariant playlists and MPDs.
CREATE TABLE media_manifests (
    path TEXT NOT NULL,
    generation BIGINT NOT NULL,
    name TEXT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (path, generation, name)
);
