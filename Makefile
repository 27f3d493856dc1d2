# `make` alone lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

NEXTEST_VERSION := 0.9.143
DENY_VERSION := 0.20.2
export CARGO_TERM_COLOR ?= auto

# nextest where the pinned version is installed, else cargo's own runner: the same tests.
NEXTEST := $(shell cargo nextest --version 2>/dev/null | grep -q ' $(NEXTEST_VERSION) ' && echo yes)

.PHONY: help demo deps test test-full lint bench bench-peers install-peers fuzz package run-tests

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## build what it runs, then heal this machine four times (STAY=1: stays up, look around with skynetctl)
	cargo build --release --locked -p skynet-agent -p skynet-controller
	./target/release/skynet-controller demo $(if $(STAY),,--once) $(DEMO_ARGS)

lint: ## format, clippy with warnings denied, docs
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

deps: ## install what the tests drive for real: redis-server, ssh-keygen, nft
	@command -v redis-server >/dev/null && command -v ssh-keygen >/dev/null && PATH="$$PATH:/usr/sbin" command -v nft >/dev/null && exit 0; \
	[ "$$(id -u)" = 0 ] || { echo "the tests need redis-server 7.0 or newer, ssh-keygen 8.9 or newer and nft: install them (apt-get install redis-server openssh-client nftables), or run make deps as root"; exit 1; }; \
	policy=/usr/sbin/policy-rc.d; [ -e $$policy ] || { printf '#!/bin/sh\nexit 101\n' > $$policy; chmod 755 $$policy; trap "rm -f $$policy" EXIT; }; \
	apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server openssh-client nftables

test: deps lint run-tests ## everything CI runs

run-tests:
	cargo build --workspace --bins --locked
	@[ "$$(id -u)" = 0 ] || echo "not root: tests that need root say 'skipped: needs root'"
ifeq ($(NEXTEST),yes)
	cargo nextest run --workspace --locked
else
	cargo test --workspace --locked -- --test-threads=1
endif

test-full: test ## long runs: 10,000 seeds, hostile input, licences and bans; minutes each
	SKYNET_SEEDS=10000 SKYNET_FLEET_SEEDS=1000 cargo test -p skynet-tests --test simulation --locked -- --nocapture
	SKYNET_ROLLOUT_SEEDS=1000 cargo test -p skynet-tests --test rollout --locked -- --nocapture
	SKYNET_HOSTILE_COMMANDS=1000000 cargo test -p skynet-tests --test hostile_controller --locked -- --nocapture
	$(MAKE) fuzz
	cargo deny --version 2>/dev/null | grep -q ' $(DENY_VERSION)$$' || cargo install --locked cargo-deny@$(DENY_VERSION)
	cargo deny --locked check bans licenses sources

# Each by itself, as it ships: built together they would share features that only one of them needs.
BENCH_BUILD = cargo build --profile agent --locked -p skynet-agent \
  && mkdir -p target/release && cp target/agent/skynet-agent target/release/skynet-agent \
  && cargo build --release --locked -p skynet-controller \
  && cargo build --release --locked -p skynet-tests --bin skynet-bench

PEERS := prometheus prometheus-node-exporter prometheus-alertmanager collectd

bench: ## print the figures as JSON lines (QUICK=1: a first value of each, within a minute)
	@$(BENCH_BUILD)
	@./target/release/skynet-bench $(if $(QUICK),--quick) $(BENCH_ARGS)

bench-peers: ## the same, then the same work through Prometheus, node_exporter and collectd, with ratios (needs root and apt-get)
	@for peer in $(PEERS); do command -v $$peer >/dev/null || { $(MAKE) install-peers; break; }; done
	@$(BENCH_BUILD)
	@./target/release/skynet-bench --peers $(if $(QUICK),--quick) $(BENCH_ARGS)

# Debian starts what it installs, now and at every boot: a policy file that is there only meanwhile forbids the one, and for
# the other what was not there before is disabled.
install-peers:
	@missing=; for peer in $(PEERS); do command -v $$peer >/dev/null || missing="$$missing $$peer"; done; \
	[ -n "$$missing" ] || exit 0; \
	made=; \
	[ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; made=yes; }; \
	trap '[ -z "$$made" ] || rm -f /usr/sbin/policy-rc.d' EXIT; \
	apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $${missing/collectd/collectd-core} >/dev/null; \
	for peer in $$missing; do \
	  deb-systemd-helper disable $$peer.service >/dev/null 2>&1 || true; \
	  update-rc.d $$peer disable >/dev/null 2>&1 || true; done

fuzz: ## hostile policies, conditions and wire bytes, longer than in test
	SKYNET_FUZZ_ROUNDS=$${SKYNET_FUZZ_ROUNDS:-100000} cargo test -p skynet-model -p skynet-proto --locked -- never_panics

package: ## binaries as they ship, in target/package
	cargo build --profile agent --locked -p skynet-agent
	cargo build --profile dist --locked -p skynet-controller
	rm -rf target/package && mkdir -p target/package
	tar -czf target/package/skynet-$$(cargo pkgid -p skynet-agent | sed 's/.*[#@]//')-$$(uname -m).tar.gz \
	  -C $(CURDIR) LICENSE README.md CHANGELOG.md packaging -C $(CURDIR)/target/agent skynet-agent -C $(CURDIR)/target/dist skynet-controller skynetctl
	@ls -l target/package
