#!/bin/sh
# Makes the sample title: CMAF segments with an HLS and a DASH presentation over the same files.
#
#   make.sh [DIRECTORY]     DIRECTORY defaults to `title` beside this script; SHA256SUMS is written beside it
#   make.sh sums            only writes SHA256SUMS again, after a change to play.html
#
# Needs ffmpeg with libx264 (Debian: apt-get install ffmpeg). Everything comes from ffmpeg's own generators: no network,
# no fonts, one encoder thread, bit-exact flags, no clock. With the same ffmpeg the result is the same, byte for byte.
set -eu

SEGMENTS=10
SEGMENT_SECONDS=4
FRAME_RATE=25
SAMPLE_RATE=48000
HEIGHTS='180 360 720'

home=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
seconds=$((SEGMENTS * SEGMENT_SECONDS))
group=$((SEGMENT_SECONDS * FRAME_RATE))

fail() {
    echo "make.sh: $*" >&2
    exit 1
}

# A test card with a moving pattern, a zoom into the Mandelbrot set that is costly to encode, and the card's own time code and frame
# number enlarged fourfold. The left ear hears a tone with a beep each second, the right ear another tone.
#
# No B-frames: presentation order is decoding order, so that no player needs an edit list or signed composition offsets to keep
# picture and sound together. The sound is one AAC frame short of the picture, which makes room for the encoder's priming frame.
encode() {
    samples=$((seconds * SAMPLE_RATE - 1024))
    scale='flags=bicubic+accurate_rnd+bitexact'
    ffmpeg -hide_banner -nostdin -v warning -y -filter_complex_threads 1 \
        -f lavfi -i "testsrc2=size=1280x720:rate=$FRAME_RATE" \
        -f lavfi -i "mandelbrot=size=560x400:rate=$FRAME_RATE:maxiter=400:start_scale=3:end_scale=0.0001:end_pts=2000" \
        -f lavfi -i "sine=frequency=330:beep_factor=4:sample_rate=$SAMPLE_RATE" \
        -f lavfi -i "sine=frequency=440:sample_rate=$SAMPLE_RATE" \
        -filter_complex "
            [0:v] split [card][corner];
            [corner] crop=104:36:0:0, scale=416:144:flags=neighbor [clock];
            [card][1:v] overlay=x=700:y=20 [zoom];
            [zoom][clock] overlay=x=0:y=0, format=yuv420p, split=3 [v0][v1][v2];
            [v0] scale=320:180:$scale [v180];
            [v1] scale=640:360:$scale [v360];
            [v2] null [v720];
            [2:a][3:a] join=inputs=2:channel_layout=stereo, atrim=end_sample=$samples [sound]" \
        -map '[v180]' -map '[v360]' -map '[v720]' -map '[sound]' -t "$seconds" \
        -c:v libx264 -preset slow -profile:v high -threads 1 -bf 0 -g "$group" -keyint_min "$group" -sc_threshold 0 \
        -x264-params open-gop=0 -b:v:0 100k -b:v:1 300k -b:v:2 750k \
        -c:a aac -b:a 64k -map_metadata -1 -fflags +bitexact -flags +bitexact \
        -f hls -hls_time "$SEGMENT_SECONDS" -hls_playlist_type vod -hls_flags independent_segments -start_number 1 \
        -hls_segment_type fmp4 -hls_segment_options movflags=+cmaf \
        -hls_fmp4_init_filename init.mp4 -hls_segment_filename '%v/segment-%05d.m4s' \
        -var_stream_map 'v:0,agroup:a,name:180p v:1,agroup:a,name:360p v:2,agroup:a,name:720p a:0,agroup:a,name:audio' \
        '%v/media.m3u8'
    # ffmpeg numbers the initialisation segments over all variants; here each has its directory to itself.
    for directory in 180p 360p 720p audio; do
        mv "$directory"/init_*.mp4 "$directory/init.mp4"
        sed 's/^#EXT-X-MAP:.*/#EXT-X-MAP:URI="init.mp4"/' "$directory/media.m3u8" >playlist
        mv playlist "$directory/media.m3u8"
    done
    ffmpeg -hide_banner -nostdin -v error -y -i 720p/media.m3u8 -ss 14 -frames:v 1 -q:v 4 \
        -map_metadata -1 -fflags +bitexact -flags +bitexact poster.jpg
}

# One cue per segment, in one file for the whole title.
subtitle() {
    mkdir -p subtitles
    awk -v segments="$SEGMENTS" -v span="$SEGMENT_SECONDS" 'BEGIN {
        print "WEBVTT"
        for (i = 0; i < segments; i++)
            printf "\n%d\n00:%02d:%02d.000 --> 00:%02d:%02d.000\nSegment %d of %d\n", i + 1,
                i * span / 60, i * span % 60, (i + 1) * span / 60, (i + 1) * span % 60, i + 1, segments
    }' >subtitles/en.vtt
    cat >subtitles/media.m3u8 <<EOF
#EXTM3U
#EXT-X-VERSION:7
#EXT-X-TARGETDURATION:$seconds
#EXT-X-MEDIA-SEQUENCE:1
#EXT-X-PLAYLIST-TYPE:VOD
#EXTINF:$seconds.000000,
en.vtt
#EXT-X-ENDLIST
EOF
}

# rate DIRECTORY: "PEAK AVERAGE" of its segments, in bits per second, rounded up (RFC 8216, 4.3.4.2).
rate() {
    awk -F '[:,]' '/^#EXTINF/ { span = $2 } /^[^#]/ { print span, $0 }' "$1/media.m3u8" | while read -r span name; do
        echo "$span $(wc -c <"$1/$name")"
    done | awk '
        { bits = $2 * 8; total += bits; time += $1; if (bits / $1 > peak) peak = bits / $1 }
        END { printf "%d %d\n", int(peak) + 1, int(total / time) + 1 }'
}

# codec DIRECTORY: the RFC 6381 name, from profile, constraints and level in the initialisation segment's avcC box.
codec() {
    at=$(LC_ALL=C grep -abo avcC "$1/init.mp4" | cut -d: -f1)
    echo "avc1.$(od -An -tx1 -j "$((at + 5))" -N 3 "$1/init.mp4" | tr -d ' \n')"
}

width() {
    echo "$(($1 * 16 / 9))"
}

# The rates of a variant are those of its picture and its sound together.
master() {
    sound=$(rate audio)
    cat <<EOF
#EXTM3U
#EXT-X-VERSION:7
#EXT-X-INDEPENDENT-SEGMENTS

#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Tones",LANGUAGE="zxx",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="audio/media.m3u8"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="English",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="subtitles/media.m3u8"
EOF
    for height in $HEIGHTS; do
        picture=$(rate "${height}p")
        cat <<EOF

#EXT-X-STREAM-INF:BANDWIDTH=$((${picture% *} + ${sound% *})),AVERAGE-BANDWIDTH=$((${picture#* } + ${sound#* })),CODECS="$(codec "${height}p"),mp4a.40.2",RESOLUTION=$(width "$height")x$height,FRAME-RATE=$FRAME_RATE.000,AUDIO="audio",SUBTITLES="subtitles",CLOSED-CAPTIONS=NONE
${height}p/media.m3u8
EOF
    done
}

# template DIRECTORY TIMESCALE: how the segments of an adaptation set are named, and how long each is, as in the playlist of DIRECTORY.
template() {
    # shellcheck disable=SC2016
    echo '      <SegmentTemplate timescale="'"$2"'" startNumber="1" initialization="$RepresentationID$/init.mp4" media="$RepresentationID$/segment-$Number%05d$.m4s">'
    awk -F '[:,]' -v timescale="$2" '
        function flush() { if (span) printf "          <S%s d=\"%d\" r=\"%d\"/>\n", (first++ ? "" : " t=\"0\""), span, count - 1 }
        BEGIN { print "        <SegmentTimeline>" }
        /^#EXTINF/ { next_span = int($2 * timescale + 0.5); if (next_span != span) { flush(); span = next_span; count = 0 } count++ }
        END { flush(); print "        </SegmentTimeline>" }' "$1/media.m3u8"
    echo '      </SegmentTemplate>'
}

# Each segment's length is given, rather than one for all: those of sound differ, and ffmpeg's player would ask for an eleventh.
manifest() {
    cat <<EOF
<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019" type="static" mediaPresentationDuration="PT${seconds}S" maxSegmentDuration="PT5S" minBufferTime="PT${SEGMENT_SECONDS}S">
  <Period id="1" start="PT0S">
    <AdaptationSet id="1" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1" par="16:9" maxWidth="1280" maxHeight="720" frameRate="$FRAME_RATE">
$(template 180p $((FRAME_RATE * 512)))
EOF
    for height in $HEIGHTS; do
        picture=$(rate "${height}p")
        cat <<EOF
      <Representation id="${height}p" codecs="$(codec "${height}p")" width="$(width "$height")" height="$height" sar="1:1" bandwidth="${picture% *}"/>
EOF
    done
    sound=$(rate audio)
    cat <<EOF
    </AdaptationSet>
    <AdaptationSet id="2" contentType="audio" mimeType="audio/mp4" lang="zxx" segmentAlignment="true" startWithSAP="1">
$(template audio "$SAMPLE_RATE")
      <Representation id="audio" codecs="mp4a.40.2" audioSamplingRate="$SAMPLE_RATE" bandwidth="${sound% *}">
        <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011" value="2"/>
      </Representation>
    </AdaptationSet>
    <AdaptationSet id="3" contentType="text" mimeType="text/vtt" lang="en">
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="subtitle"/>
      <Representation id="subtitles" bandwidth="256">
        <BaseURL>subtitles/en.vtt</BaseURL>
      </Representation>
    </AdaptationSet>
  </Period>
</MPD>
EOF
}

# packets DIRECTORY: "TIME FLAGS" of each packet.
packets() {
    ffprobe -v error -show_entries packet=pts_time,flags -of csv=print_section=0 "$1/media.m3u8"
}

# What the presentations promise: every file is there, nothing else is, and each segment begins with a key frame on its boundary.
check() {
    expected=$(awk -v n="$SEGMENTS" -v span="$SEGMENT_SECONDS" 'BEGIN { for (i = 0; i < n; i++) printf "%.6f ", i * span }')
    for height in $HEIGHTS; do
        [ "$(packets "${height}p" | wc -l)" -eq "$((seconds * FRAME_RATE))" ] || fail "${height}p has a wrong number of frames"
        [ "$(packets "${height}p" | awk -F, '/K/ { printf "%s ", $1 }')" = "$expected" ] || fail "${height}p has key frames off the boundaries"
        [ "$(grep -c "^#EXTINF:$SEGMENT_SECONDS.000000,$" "${height}p/media.m3u8")" -eq "$SEGMENTS" ] || fail "${height}p has a wrong duration"
    done
    [ "$(packets audio | wc -l)" -eq "$((seconds * SAMPLE_RATE / 1024))" ] || fail 'audio has a wrong number of frames'

    {
        printf '%s\n' master.m3u8 manifest.mpd poster.jpg play.html
        sed -n 's/^[^#]/&/p; s/.*URI="\(.*\)".*/\1/p' master.m3u8
        for playlist in */media.m3u8; do
            sed -n 's/^[^#]/&/p; s/.*URI="\(.*\)".*/\1/p' "$playlist" | sed "s|^|${playlist%/*}/|"
        done
    } | sort -u >../referenced-by-hls
    {
        printf '%s\n' master.m3u8 manifest.mpd poster.jpg play.html */media.m3u8
        sed -n 's|.*<BaseURL>\(.*\)</BaseURL>.*|\1|p' manifest.mpd
        sed -n 's/.*<Representation id="\([0-9a-z]*\)" codecs.*/\1/p' manifest.mpd | while read -r id; do
            awk -v id="$id" -v n="$SEGMENTS" 'BEGIN { print id "/init.mp4"; for (i = 1; i <= n; i++) printf "%s/segment-%05d.m4s\n", id, i }'
        done
    } | sort -u >../referenced-by-dash
    find . -type f | sed 's|^\./||' | sort >../present
    diff ../referenced-by-hls ../present >&2 || fail 'what HLS refers to is not what is there'
    diff ../referenced-by-dash ../present >&2 || fail 'what DASH refers to is not what is there'
}

# sums DIRECTORY
sums() {
    (cd "$1" && find . -type f | sed 's|^\./||' | LC_ALL=C sort | xargs sha256sum) >"$(dirname -- "$1")/SHA256SUMS"
}

if [ "${1-}" = sums ]; then
    sums "$home/title"
    exit
fi
if ! command -v ffmpeg >/dev/null || ! command -v ffprobe >/dev/null; then
    fail 'ffmpeg is not installed (Debian: apt-get install ffmpeg)'
fi

title=${1-$home/title}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/title"
cd "$work/title"
cp "$home/title/play.html" .
encode
subtitle
master >master.m3u8
manifest >manifest.mpd
check
cd "$home"
mkdir -p "$title"
rm -rf "${title:?}"/*
cp -R "$work/title/." "$title"
sums "$title"
du -sk "$title"
