#!/usr/bin/env bash
# Installs the programs of the operating system that `npm run test:programs` and the short form of the bench drive, and the
# shells whose completion is tested, on Debian and its kin. Does nothing where all of them are. As root, or with sudo.
set -euo pipefail

packages=(postgresql postgresql-contrib redis-server redis-tools nginx openssh-server openssh-client
  iperf3 curl netcat-openbsd openssl iproute2 util-linux gcc libc6-dev stunnel4 fish zsh)

missing() {
  PATH="$PATH:/usr/sbin:/sbin"
  for program in psql pgbench redis-server redis-cli redis-benchmark nginx sshd ssh scp ssh-keygen iperf3 curl nc \
    openssl ip setpriv gcc sha256sum stunnel4 fish zsh; do
    command -v "$program" >/dev/null || echo "$program"
  done
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || echo initdb
  [ -f /usr/include/stdio.h ] || echo libc6-dev
}

lacking=$(missing)
if [ -z "$lacking" ]; then
  echo "setup:system: every program is here"
  exit 0
fi
echo "setup:system: missing:" $lacking

if ! command -v apt-get >/dev/null; then
  echo "setup:system: no apt-get here; install by hand: ${packages[*]}" >&2
  exit 1
fi
root=()
if [ "$(id -u)" != 0 ]; then root=(sudo); fi

# The tests start servers of their own: those of the packages are not to start, where nothing decides that yet.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
  "${root[@]}" chmod 755 "$policy"
  made=1
fi
trap '[ -z "$made" ] || "${root[@]}" rm -f "$policy"' EXIT

export DEBIAN_FRONTEND=noninteractive
"${root[@]}" apt-get update -qq
"${root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}"

lacking=$(missing)
if [ -n "$lacking" ]; then
  echo "setup:system: still missing:" $lacking >&2
  exit 1
fi
echo "setup:system: every program is here"
