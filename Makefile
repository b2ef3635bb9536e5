# Everything that is done with this repository. `make help` lists it.

CARGO ?= cargo
FEATURES := --all-features
TARGET := $(or $(CARGO_TARGET_DIR),target)
ifdef CI
NEXTEST_PROFILE := ci
else
NEXTEST_PROFILE := default
endif

.DEFAULT_GOAL := help
.PHONY: help setup build run test simulate conformance faults configs image compose-test manifests bench lint fmt tools clean

help: ## List what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## Install what the tests need: Redis, balancers, a browser, the official clients and conformance suite
	@sh .ci/setup

build: ## Build the server as it is shipped
	$(CARGO) build --locked --release

run: ## Run one node, with sessions in memory
	$(CARGO) run --locked --release

test: setup ## Run all tests
	$(CARGO) test --locked $(FEATURES) --doc
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    set -x; $(CARGO) nextest run --locked $(FEATURES) --profile $(NEXTEST_PROFILE); \
	else \
	    set -x; $(CARGO) test --locked $(FEATURES) --lib --bins --tests --examples; \
	fi

simulate: ## Play thousands of runs of nodes, clients and faults from seeds; SEEDS= says how many, N.. which
	RUSTFLAGS="--cfg tokio_unstable" $(CARGO) test --locked --profile simulate --target-dir $(TARGET)/simulate --lib \
	    engine::simulation::simulate -- --exact --ignored --nocapture

CONFORMANCE := tests/conformance/node_modules/.bin/node tests/conformance/run.mjs $(TARGET)/debug/examples/everything

conformance: setup ## Run the official conformance suite against one node, and against three
	$(CARGO) build --locked $(FEATURES) --example everything
	@$(CONFORMANCE)

faults: setup ## Run it ten times against three nodes, of which one is killed every 3 s
	$(CARGO) build --locked $(FEATURES) --example everything
	@$(CONFORMANCE) --faults 10

configs: setup ## Check what is in deploy/, the Dockerfile and the compose file, each by its own tool
	@.ci/configs

image: ## Build the container image
	docker build -t anynode/mcp-server:latest --build-arg REVISION="$$(git rev-parse HEAD)" .

compose-test: setup ## Test what needs Docker: the image, compose as it scales under twenty clients, systemd
	@.ci/compose-test

manifests: ## Check k8s/ and ecs/ against schemas, a fake AWS, Prometheus and the server
	@sh .ci/setup packages
	$(CARGO) build --locked $(FEATURES) --bin mcp-server
	@MCP_SERVER="$(abspath $(TARGET)/debug/mcp-server)" sh .ci/manifests

bench: setup build ## Measure it beside other servers, about twenty-five minutes; FAST=1 for a try
	$(CARGO) build --locked --release --manifest-path benches/side_by_side/Cargo.toml --target-dir $(TARGET)/side-by-side
	$(TARGET)/side-by-side/release/side-by-side --anynode $(TARGET)/release/mcp-server \
	    --keep $(TARGET)/side-by-side/callgrind \
	    $(if $(FAST),--fast --out $(TARGET)/side-by-side/results)

lint: ## Check format, lints, docs, licences and unused dependencies
	@sh .ci/lint

fmt: ## Format the code
	$(CARGO) fmt

tools: ## Install cargo-deny and cargo-machete, which `make lint` needs
	@sh .ci/tools

clean: ## Remove what was built and installed inside the repository
	$(CARGO) clean
	rm -rf tests/auth/node_modules tests/clients/node_modules tests/clients/.venv tests/conformance/node_modules tests/browser/node_modules \
	    deploy/.venv tests/manifests/.venv tests/manifests/node_modules
