# What the machine must have. Sourced by ./dev; offline and instant when nothing is missing.

build_packages=(cmake ninja-build g++ ccache pkg-config nlohmann-json3-dev libspdlog-dev libsqlite3-dev libcli11-dev robin-map-dev
  python3)
test_packages=(libgtest-dev libgmock-dev libboost1.81-dev python3-venv python3-dev clang-tidy-14 clang-format-14 util-linux spin valgrind)
peer_packages=(dpkg-dev elixir erlang-jiffy)  # what the tests and benchmarks set beside Lair
clang_packages=(clang-14 libclang-rt-14-dev)  # for the build with AddressSanitizer, and the fuzzers

as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

# need_packages NAME...: installs those that dpkg does not know as installed.
need_packages() {
  local missing=() package
  for package in "$@"; do
    [[ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" == "install ok installed" ]] || missing+=("$package")
  done
  ((${#missing[@]} == 0)) && return
  [[ $(id -u) == 0 ]] || command -v sudo >/dev/null ||
    die "missing packages and no sudo; as root: apt-get install ${missing[*]}"
  # An explicit `|| return`: under `step`, set -e is off.
  as_root apt-get update -q || return
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
}

# promtool, in .venv. Unpacked from its package and not installed with it, which would start a server.
need_promtool() {
  [[ -x .venv/bin/promtool ]] && return
  local folder
  folder=$(mktemp -d) || return
  (
    cd "$folder"
    apt-get download -q prometheus || { as_root apt-get update -q && apt-get download -q prometheus; } || exit
    dpkg -x prometheus_*.deb .
  ) && install "$folder/usr/bin/promtool" .venv/bin/promtool
  local status=$?
  rm -rf "$folder"
  return $status
}

# The tools of the Python side, in .venv, from the system's Python; again only when the list has changed.
need_venv() {
  cmp -s tools/requirements.txt .venv/requirements.installed && return
  rm -rf .venv
  /usr/bin/python3 -m venv .venv || return
  .venv/bin/pip install --quiet --disable-pip-version-check -r tools/requirements.txt || return
  cp tools/requirements.txt .venv/requirements.installed
}

# DSPy, for tests/dspy and the demonstration of it, in the same .venv; again only when its list has changed.
need_dspy() {
  need_venv || return
  cmp -s tools/requirements-dspy.txt .venv/requirements-dspy.installed && return
  timeout 900 .venv/bin/pip install --quiet --disable-pip-version-check -r tools/requirements-dspy.txt || return
  cp tools/requirements-dspy.txt .venv/requirements-dspy.installed
}

# What bench/peers.cpp sets beside Lair, in .venv-peers, each by itself: one that cannot be had is left out of the figures.
# The accelerator is for the same interpreter.
need_peers() {
  local list=tools/requirements-peers.txt bin=.venv-peers/bin requirement missing=0
  if ! cmp -s $list .venv-peers/requirements.installed; then
    rm -rf .venv-peers
    /usr/bin/python3 -m venv .venv-peers || return
    while read -r requirement; do
      timeout 900 $bin/pip install --quiet --disable-pip-version-check "$requirement" </dev/null || missing=1
    done <$list
    ((missing)) || cp $list .venv-peers/requirements.installed
  fi
  python/native/build.sh python/lair_worker $bin/python || missing=1
  if [[ ! -x $bin/lair-embedded || -n $(find bench/measured.hpp bench/peers/*embedded* -newer $bin/lair-embedded) ]]; then
    bench/peers/build_embedded.sh $bin/python $bin/lair-embedded || missing=1
  fi
  return $missing
}
