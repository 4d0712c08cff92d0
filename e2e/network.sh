#!/bin/sh
# Runs a command where there is a network interface besides loopback, which some clients need: e2e/network.sh COMMAND …
#
# A machine that has an address of its own is left as it is. Otherwise the command gets a network namespace with a pair of
# virtual interfaces; where that is not allowed either, it runs without, and the tests say what they leave out.
set -eu

if [ -n "$(ip -4 -o address show scope global up 2>/dev/null)" ]; then exec "$@"; fi

# 198.18.0.0/15 is for benchmarks (RFC 2544), so no network has it. Firefox looks for the interface of the default route.
setup='ip link set lo up && ip link add nowcast0 type veth peer name nowcast1 && ip address add 198.18.0.1/24 dev nowcast0 &&
    ip link set nowcast0 up && ip link set nowcast1 up && ip route add default via 198.18.0.2 dev nowcast0'
for namespace in "unshare --net" "unshare --net --map-root-user"; do
    if $namespace sh -c "$setup" 2>/dev/null; then
        echo "e2e: no network here; the tests run in a network namespace with an interface of their own"
        exec $namespace sh -c "$setup"' && exec "$@"' sh "$@"
    fi
done
exec "$@"
