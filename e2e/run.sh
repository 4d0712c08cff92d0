#!/bin/sh
# Tests with real clients: Chromium, Firefox, ffmpeg, aiortc, GStreamer, libdatachannel, Pion. Installs missing
# programs, and prints their names. It does not install Go, which Pion needs: without Go these tests print SKIPPED.
#
#   e2e/run.sh                      all of them
#   e2e/run.sh tests/join.test.mjs  some of them
#
# Expects target/release/nowcast and target/release/impair (or NOWCAST_BIN, IMPAIR_BIN). Figures go to e2e/out/figures.jsonl.
set -eu
cd "$(dirname "$0")"

install_debian() {
    if [ "$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null; then sudo=sudo; else
        echo "e2e: missing: $*. Install with: apt-get install $*" >&2
        exit 1
    fi
    echo "e2e: installing Debian's $*"
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

[ -x "${NOWCAST_BIN:-../target/release/nowcast}" ] || { echo "e2e: build the server first: target/release/nowcast is missing" >&2; exit 1; }
[ -x "${CHROMIUM:-/usr/bin/chromium}" ] || install_debian chromium fonts-dejavu-core
[ -x "${FIREFOX:-/usr/bin/firefox-esr}" ] || install_debian firefox-esr
command -v ip >/dev/null || install_debian iproute2
/usr/bin/python3 lib/gst_peer.py --elements >/dev/null 2>&1 || install_debian gstreamer1.0-plugins-base \
    gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-nice python3-gst-1.0 gir1.2-gst-plugins-bad-1.0
python3 -c 'import ensurepip, venv' 2>/dev/null || install_debian python3-venv
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    echo "e2e: npm ci"
    npm ci --silent
    touch node_modules/.package-lock.json
fi
node install.mjs

mkdir -p out
rm -f out/figures.jsonl
[ $# -gt 0 ] || set -- tests/*.test.mjs
# One file at a time: browsers measure each other otherwise.
status=0
./network.sh node --test --test-concurrency=1 --test-timeout=180000 --test-reporter=spec "$@" || status=$?
node tables.mjs
exit $status
