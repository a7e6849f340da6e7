#!/bin/sh
# Installs what the bench runs against and drives its load with, by name from the registries, with exact versions where a
# registry keeps old ones. Needs root for Debian's packages, and cargo and go for the rest. `setup.sh debian|rathole|bore|
# chisel|frp` installs one of them alone. Everything that is not from Debian lands in $WARREN_BENCH (~/.cache/warren-bench).
set -eu

RATHOLE=0.5.0
BORE=0.6.0
CHISEL=v1.11.3
FRP=v0.68.0

root=${WARREN_BENCH:-${XDG_CACHE_HOME:-$HOME/.cache}/warren-bench}
jobs=${JOBS:-2}
mkdir -p "$root/bin"

need() {
  command -v "$1" >/dev/null || { echo "setup.sh: $1 is missing, and $2 is built with it" >&2; exit 1; }
}

debian() {
  apt-get update
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    gcc libc6-dev iperf3 haproxy stunnel4 openssh-server openssh-client redis-server redis-tools postgresql \
    postgresql-contrib nginx-light wrk iproute2 openssl libssl-dev pkg-config
}

# Not --locked: the `time` crate that rathole's lock file names does not compile with Rust 1.80 and later.
rathole() {
  need cargo rathole
  nice cargo install rathole --version "$RATHOLE" --root "$root" -j "$jobs"
  echo "rathole $RATHOLE (crates.io)" >"$root/rathole.version"
}

bore() {
  need cargo bore
  nice cargo install bore-cli --version "$BORE" --locked --root "$root" -j "$jobs"
  echo "bore $BORE (crates.io)" >"$root/bore.version"
}

# Built as the main module, from a copy out of the module cache: frp's go.mod has a replace, which `go install` refuses, and
# `go install` asks for a module's list of versions, which not every proxy has.
unpacked() {
  from=$(cd "$root" && go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  [ -n "$from" ] || { echo "setup.sh: no module $1" >&2; exit 1; }
  copy=$(mktemp -d)
  cp -r "$from/." "$copy"
  chmod -R u+w "$copy"
  echo "$copy"
}

build() {
  (cd "$1" && CGO_ENABLED=0 nice go build -p "$jobs" -trimpath -ldflags '-s -w' -tags "$2" -o "$root/bin/$3" "$4")
}

chisel() {
  need go chisel
  copy=$(unpacked "github.com/jpillora/chisel@$CHISEL")
  build "$copy" '' chisel .
  rm -rf "$copy"
  echo "chisel $CHISEL (Go modules)" >"$root/chisel.version"
}

# By its Makefile's own flags; noweb: the module does not hold the built pages of its dashboard.
frp() {
  need go frp
  copy=$(unpacked "github.com/fatedier/frp@$FRP")
  build "$copy" frps,noweb frps ./cmd/frps
  build "$copy" frpc,noweb frpc ./cmd/frpc
  rm -rf "$copy"
  echo "frp $FRP (Go modules)" >"$root/frp.version"
}

[ $# -gt 0 ] || set -- debian rathole bore chisel frp
for part; do
  case $part in
    debian | rathole | bore | chisel | frp) "$part" ;;
    *) echo "setup.sh: $part is not one of debian, rathole, bore, chisel, frp" >&2; exit 2 ;;
  esac
done
