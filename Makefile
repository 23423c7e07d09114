# Every target does its own set-up: on a fresh Debian 12 or 13 (x86_64) nothing
# but git, make and Rust is needed, and nothing is done twice.

export PATH := $(PATH):$(HOME)/.cargo/bin
# Built once, used by `run`, `test`, `demo` and `bench`.
export POLYDEV__IMAGE__DIR := $(CURDIR)/target/images

POLYDEV := target/debug/polydev
DEV_DATA := target/dev
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo )

.DEFAULT_GOAL := help
.PHONY: help setup build image run demo test soak fuzz bench lint lint-fast advisories

help: ## Tell what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## Install what is missing on this machine, for all of the below but lint
	@scripts/setup build image sandbox test

build:
	@scripts/setup build
	@scripts/web
	cargo build --workspace

image: build ## Build the images that sandboxes are made from, and prove each in one (nothing, if they are there)
	@scripts/setup image sandbox
	scripts/as-root 'making images' $(POLYDEV) image build

run: image ## Run a server on http://127.0.0.1:4000, its data in target/dev
	@echo
	@echo 'The server starts. The first time it shows a setup link: open it in a browser, and go on there.'
	@echo 'Or in another terminal, in this folder:'
	@echo '  $(SUDO)$(POLYDEV) --data-dir $(DEV_DATA) user create you@example.com'
	@echo '  export POLYDEV_API_KEY=$$($(SUDO)$(POLYDEV) --data-dir $(DEV_DATA) key create)'
	@echo '  $(POLYDEV) connect claude --api-key-stdin    # paste your API key, Enter, Ctrl-D'
	@echo '  $(POLYDEV) run claude "What is 17*23?"'
	@echo
	scripts/as-root 'making sandboxes' $(POLYDEV) --data-dir $(DEV_DATA) serve

demo: image ## The whole story, offline, with a stand-in for the providers
	scripts/as-root 'making sandboxes' scripts/demo

test: image ## All tests
	@scripts/setup test
	scripts/test

soak: image ## What is too heavy for every day: fuzzing, long runs, many more random cases
	@scripts/setup test fuzz
	scripts/soak

fuzz: ## Look for what breaks the readers of hostile input, or one of them (TARGET), for SECONDS (600)
	@scripts/setup build fuzz
	scripts/fuzz $(or $(SECONDS),600) $(TARGET)

bench: image ## Polydev beside its yardsticks, or PARTS of it (road load events memory egress web desktop bridge neighbours); the figures go to bench/
	@scripts/setup bench
	@# In a mount namespace of its own: what it mounts goes with it, however it ends.
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='$(CURDIR)/scripts/as-root making-sandboxes unshare --mount' \
		cargo bench --package polydev-server --bench figures -- $(PARTS)

lint: lint-fast ## Everything that can be said of the code without running it
	@scripts/setup lint
	shellcheck scripts/* .ci/run
	target/tools/bin/cargo-deny --locked check --hide-inclusion-graph bans licenses sources

lint-fast:
	@scripts/setup build
	scripts/web check
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- --deny warnings

advisories: ## Known vulnerabilities in what we depend on (fetches RustSec's database)
	@scripts/setup lint
	target/tools/bin/cargo-deny --locked check advisories
