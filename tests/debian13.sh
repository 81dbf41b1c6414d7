#!/bin/sh
# Tests what is committed under Python 3.13, in a Debian 13 that debootstrap makes in a temporary folder.
#
#   tests/debian13.sh [COMMAND]     as root; COMMAND runs in the checkout, by default: make test
#
# It needs some 8 GB below TMPDIR. Debian's packages come from the mirror that apt uses on this machine, Python's from
# where pip gets them: its environment, its configuration and the certificates are those of the machine. All mounts lie
# in a namespace of their own and end with its processes, however these end; the folder is then removed.
set -eu

if [ "${1-}" = --inside ]; then # a namespace: nothing that is mounted or started here outlives it
    tree=$2
    mount -t proc proc "$tree/proc"
    mount --rbind /dev "$tree/dev"
    if [ -d ../shared ]; then
        mkdir -p "$tree/src/shared"
        mount --bind -o ro ../shared "$tree/src/shared"
    fi
    exec env -u TMPDIR -u VIRTUAL_ENV HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        chroot "$tree" sh -c "cd /src/mmstream && $3"
fi

cd "$(dirname "$0")/.."
command=${1:-make test}
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' | grep -m 1 '/debian/*$')}
command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap

tree=$(mktemp -d -t debian13.XXXXXX)
trap 'rm -rf --one-file-system "$tree"' EXIT
trap 'exit 130' INT TERM HUP
debootstrap --variant=minbase --include=ca-certificates,make,python3-venv trixie "$tree" "$mirror"
mkdir -p "$tree/src/mmstream"
git archive HEAD | tar -x -C "$tree/src/mmstream"
for path in /etc/hosts /etc/resolv.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    [ ! -e "$path" ] || cp -L "$path" "$tree$path"
done
unshare --mount --propagation private --pid --fork --kill-child tests/debian13.sh --inside "$tree" "$command"
