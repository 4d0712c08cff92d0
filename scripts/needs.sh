# Installs what the machine lacks. Sourced by the other scripts; not run by itself.
#
# Each `need_*` prints one line when it installs something, and nothing otherwise.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*"; }
give_up() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Compares versions such as 1.89.0: is $1 at least $2?
is_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Installs Debian packages. $1 says why they are needed, the rest are their names.
install() {
  local why=$1 as_root=() output
  shift
  command -v apt-get >/dev/null ||
    give_up "Missing: $* ($why). This machine has no apt-get; please install them with its own package manager."
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || give_up "Missing: $* ($why). Please run as root: apt-get install $*"
    as_root=(sudo)
  fi
  say "Installing $* ($why)"
  output=$(mktemp)
  if [ -z "${apt_is_updated:-}" ]; then
    "${as_root[@]}" apt-get update -qq >"$output" 2>&1 || { cat "$output" >&2; give_up "apt-get update failed."; }
    apt_is_updated=yes
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" \
    >"$output" 2>&1 || { cat "$output" >&2; give_up "apt-get install $* failed."; }
  rm -f "$output"
}

need_rust() {
  # A rustup of minutes ago is not in the PATH of this shell yet.
  command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
  command -v cargo >/dev/null || give_up "Missing: cargo. Please install Rust 1.89 or later, for example with rustup."
  local version
  version=$(cd "$root" && cargo --version | cut -d ' ' -f 2)
  is_at_least "$version" 1.89 || give_up "cargo $version is too old: Nowcast needs 1.89 or later (rustup update stable)."
}

need_rust_checks() {
  (cd "$root" && cargo fmt --version && cargo clippy --version) >/dev/null 2>&1 ||
    give_up "Missing: rustfmt or clippy. Please install them: rustup component add rustfmt clippy"
}

need_c_compiler() {
  { command -v cc && echo 'int main(void) { return 0; }' | cc -include stdio.h -x c -o /dev/null -; } >/dev/null 2>&1 ||
    install "a C compiler for the cryptography" build-essential
}

need_node() {
  command -v node >/dev/null && command -v npm >/dev/null || give_up "Missing: node and npm. Please install Node.js 20 or later."
  local version
  version=$(node --version)
  is_at_least "${version#v}" 20 || give_up "Node.js $version is too old: Nowcast needs 20 or later."
}

need_browser() {
  command -v chromium >/dev/null || install "a browser for the browser tests" chromium
  [ -n "$(find /usr/share/fonts /usr/local/share/fonts -name '*.ttf' -print -quit 2>/dev/null)" ] ||
    install "fonts for the browser tests" fonts-dejavu-core
}

need_python() {
  { command -v python3 && python3 -c 'import ensurepip, venv'; } >/dev/null 2>&1 ||
    install "tools of the browser tests" python3 python3-venv
}

# Installs the packages of a folder with a package-lock.json, if they are not those of the lock already.
need_npm_packages() {
  local folder=$root/$1 mark=$root/$1/node_modules/.nowcast-lock
  cmp -s "$folder/package-lock.json" "$mark" && return
  say "Installing npm packages of $1/"
  (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error)
  cp "$folder/package-lock.json" "$mark"
}
