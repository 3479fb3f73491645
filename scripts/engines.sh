#!/bin/sh
# Sees that the programs `make test` runs beside Python are there: LibreOffice recalculates workbooks, pdftoppm makes
# pictures of them, node runs the printed JavaScript, Chromium opens the page and the report, a compiler builds the native
# kernel; and Fashion-MNIST, real images from Debian's dataset-fashion-mnist. Whatever is on PATH is used as
# it is. What is missing is installed where that needs no question (root, with apt-get); elsewhere the line to run is
# printed.
set -eu

have() { command -v "$1" >/dev/null 2>&1; }

missing=
have soffice || have libreoffice || missing="$missing libreoffice-calc"
have pdftoppm || missing="$missing poppler-utils"
have chromium || have google-chrome || have "${CHROMIUM:-chromium}" || missing="$missing chromium"
[ -n "${FASHION_MNIST:-}" ] || [ -d /usr/share/datasets/fashion-mnist ] || missing="$missing dataset-fashion-mnist"
have node || missing="$missing nodejs"
have "${CXX:-c++}" || missing="$missing g++"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ] && have apt-get; then
    echo "installing with apt-get:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of package names
    exec apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
echo "make test needs more programs: sudo apt-get install -y --no-install-recommends$missing" >&2
exit 1
