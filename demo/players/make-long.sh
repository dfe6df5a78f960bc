#!/bin/sh
# Makes a longer title of the sample title, for players that must not have all of it before something happens.
#
#   make-long.sh DIRECTORY
#
# The picture is the sample's, three times over, unchanged; the sound is made anew. Two representations, HLS and DASH. Needs ffmpeg.
set -eu

TIMES=3
SECONDS_EACH=40

[ $# -eq 1 ] || { echo 'usage: make-long.sh DIRECTORY' >&2; exit 64; }
home=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
sample=$home/../sample/title
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$1"
cd "$1"
for height in 180 360; do
    cat "$sample/${height}p/init.mp4" "$sample/${height}p"/segment-*.m4s >"$work/$height.mp4"
done
ffmpeg -hide_banner -nostdin -v error -y \
    -stream_loop $((TIMES - 1)) -i "$work/180.mp4" -stream_loop $((TIMES - 1)) -i "$work/360.mp4" \
    -f lavfi -i "sine=frequency=330:sample_rate=48000:duration=$((TIMES * SECONDS_EACH))" \
    -map 0:v -map 1:v -map 2:a -c:v copy -c:a aac -b:a 64k \
    -f dash -seg_duration 4 -hls_playlist 1 -adaptation_sets 'id=0,streams=v id=1,streams=a' \
    -init_seg_name 'init-$RepresentationID$.mp4' -media_seg_name 'segment-$RepresentationID$-$Number%05d$.m4s' manifest.mpd
