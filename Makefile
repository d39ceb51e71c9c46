# What one does here; `make` lists it. Installs go into tests/, benches/ and target/tools and are made once.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
BIN := $(TARGET)/debug/topichub
VENV := tests/python/.venv
PYTHON := $(VENV)/.installed
PYTHON_CLIENT := clients/python/tests/.venv/.installed
CONFORMANCE := tests/conformance/.venv/.installed
NODE := tests/node/node_modules/.installed
BROWSER := tests/browser/node_modules/.installed
RUNTIMES := tests/runtimes/node_modules/.installed
JS := clients/js/node_modules/.installed
CARGO_DEB := $(TARGET)/tools/bin/cargo-deb
ESLINT := tests/node/node_modules/.bin/eslint
TSC := tests/node/node_modules/.bin/tsc

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: ## build and serve the demo on http://127.0.0.1:8080
	cargo run --release -- serve --demo

# --- tests ---

.PHONY: test
test: test-rust test-python test-python-client test-node test-js test-browser test-package conformance fuzz-short ## all tests; installs what they need

.PHONY: test-rust
test-rust: ## unit, property, simulator, vector, documentation and integration tests
	cargo build --workspace --quiet --bin faults
	cargo test --workspace

.PHONY: test-python
test-python: $(PYTHON) binary ## the binary against the PyPI packages websockets and msgpack
	cd tests/python && TOPICHUB_BIN='$(BIN)' .venv/bin/pytest

.PHONY: test-python-client
test-python-client: $(PYTHON_CLIENT) binary ## the Python client: vectors, the binary, servers that misbehave, connections cut a thousand times
	cargo build --quiet --package faults
	cd clients/python && TOPICHUB_BIN='$(BIN)' FAULTS_BIN='$(TARGET)/debug/faults' tests/.venv/bin/pytest

.PHONY: abuse
abuse: $(PYTHON) binary ## abusers of all kinds beside healthy clients for ABUSE_SECONDS (60), with figures
	cd tests/python && TOPICHUB_ABUSE_SECONDS=$(or $(ABUSE_SECONDS),60) TOPICHUB_BIN='$(BIN)' .venv/bin/pytest -s test_abuse.py

.PHONY: test-node
test-node: $(NODE) binary ## the binary against the npm packages ws and @msgpack/msgpack
	cd tests/node && TOPICHUB_BIN='$(BIN)' npm test --silent

.PHONY: test-js
test-js: $(JS) $(RUNTIMES) binary ## the JavaScript client: vectors, stories, networks that lie, a thousand cuts; also in Deno and Bun
	cargo build --package faults
	cd clients/js && TOPICHUB_BIN='$(BIN)' FAULTS_BIN='$(TARGET)/debug/faults' npm test --silent

# What the pages load of the client, as it is built: source maps aside.
.PHONY: web-client
web-client: $(JS) ## build the JavaScript client anew for the pages; the tests say when that is due
	cd clients/js && npm run --silent build
	for module in index fallback msgpack shared-worker worker; do \
	sed '/^\/\/# sourceMappingURL=/d' "clients/js/dist/$$module.js" >"clients/web/vendor/topichub/$$module.js"; done

.PHONY: test-browser
test-browser: $(BROWSER) $(JS) binary ## the pages and the JavaScript client in a real Chromium
	cargo build --workspace --example authority
	cd clients/js && npm run --silent build
	chromium="$$(tests/setup/chromium.sh)"; \
	cd tests/browser && CHROMIUM="$$chromium" TOPICHUB_BIN='$(BIN)' npm test --silent

.PHONY: test-package
test-package: binary ## a Debian package of the debug build, installed beside the system and removed; where there is dpkg
	if command -v dpkg-deb >/dev/null; then $(MAKE) --no-print-directory '$(CARGO_DEB)' && packaging/test.sh '$(CARGO_DEB)' '$(BIN)'; \
	else echo 'there is no dpkg: the Debian package is not tested'; fi

# The debug build, in which only the codec is optimised (see Cargo.toml), because the tests above have built it already.
# Gigabytes are compressed on both sides: two to four minutes.
.PHONY: conformance
conformance: $(CONFORMANCE) $(PYTHON) ## Autobahn's 517 cases against the echo example; reports stay in target/conformance
	cd tests/conformance && ../python/.venv/bin/pytest -q -c ../python/pyproject.toml --rootdir .
	cargo build --workspace --example echo
	tests/conformance/.venv/bin/python tests/conformance/run.py '$(TARGET)/debug/examples/echo' --reports '$(TARGET)/conformance'

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZ_SECONDS (120); what was found before is where it begins
	fuzz/run.sh $(or $(FUZZ_SECONDS),120)

.PHONY: fuzz-short
fuzz-short: ## the same for FUZZ_SECONDS (6)
	fuzz/run.sh $(or $(FUZZ_SECONDS),6)

.PHONY: simulate
simulate: ## the hub in virtual time against a plain model, for SEEDS (2000) seeds
	TOPICHUB_SEEDS=$(or $(SEEDS),2000) cargo test --release --lib -- simulator

.PHONY: binary
binary:
	@# By way of the integration tests: built on its own it would have other features of its dependencies, built twice.
	cargo test --workspace --no-run --quiet --test it

# --- checks ---

.PHONY: check
check: check-python check-web check-rust ## formats, lints, types and documentation; changes nothing

.PHONY: check-rust
check-rust:
	cargo fmt --all --check && cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --lib --no-default-features -- -D warnings
	fuzz/run.sh check
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
	if command -v cargo-deny >/dev/null; then cargo deny check --hide-inclusion-graph bans licenses sources; \
	else echo 'cargo-deny is not installed: licences and sources of dependencies are not checked'; fi

.PHONY: check-python
check-python: $(PYTHON) $(PYTHON_CLIENT)
	cd clients/python && tests/.venv/bin/ruff check . && tests/.venv/bin/ruff format --check . && tests/.venv/bin/mypy
	cd tests/python && .venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy .
	export PATH="$$PWD/$(VENV)/bin:$$PATH" config="$$PWD/tests/python/pyproject.toml"; \
	for directory in tests/conformance fuzz; do \
	(cd "$$directory" && ruff check --config "$$config" . && ruff format --config "$$config" --check . && \
	mypy --config-file "$$config" --cache-dir '$(TARGET)/mypy' .) || exit 1; done

.PHONY: check-web
check-web: $(NODE) $(JS)
	$(ESLINT) --config tests/node/eslint.config.mjs clients/web tests/node tests/browser
	$(TSC) --project tests/node/tsconfig.json
	cd clients/js && npm run --silent check && npm run --silent docs

# --- packages ---

.PHONY: package
package: $(CARGO_DEB) ## a Debian package of the release build, in target/debian; packaging/Dockerfile makes an image
	cargo build --release --locked --bin topichub
	'$(CARGO_DEB)' deb --no-build --locked

# Without optimisation: a minute instead of two, and it compresses by the system's own programs.
$(CARGO_DEB):
	cargo install cargo-deb --version 3.8.0 --locked --quiet --debug --no-default-features --root '$(TARGET)/tools' --target-dir '$(TARGET)/tools'

# --- measurements ---

.PHONY: bench
bench: ## fan-out beside the kernel's own limit, memory of idle connections and of topics, delivery, cost of history
	cargo bench --bench fan_out
	cargo bench --bench events
	cargo bench --bench idle
	cargo bench --bench topics
	cargo bench --bench delivery
	cargo bench --bench history

.PHONY: footprint
footprint: ## memory of a million topics and of a million subscriptions in the hub's core
	cargo test --release --lib footprint -- --ignored --nocapture

.PHONY: bench-peers
bench-peers: ## the same work on other servers, into benches/RESULTS.md; PEERS='--quick limit topichub nats' chooses
	benches/peers/install.sh
	cargo bench --bench peers -- $(PEERS)

.PHONY: clean
clean: ## remove what was built and installed
	cargo clean
	rm -rf benches/peers/.installed benches/peers/node/node_modules $(VENV) tests/conformance/.venv clients/python/tests/.venv tests/node/node_modules tests/browser/node_modules tests/runtimes/node_modules clients/js/node_modules clients/js/dist tests/python/.ruff_cache tests/python/.hypothesis
	find tests clients/python -name __pycache__ -prune -exec rm -rf {} +

# --- what the tests need ---

tests/%/.venv/.installed: tests/%/requirements.txt tests/setup/venv.sh
	tests/setup/venv.sh $(@D) $<
	touch $@

$(PYTHON_CLIENT): clients/python/tests/requirements.txt tests/setup/venv.sh
	tests/setup/venv.sh $(@D) $<
	touch $@

tests/%/node_modules/.installed: tests/%/package-lock.json
	cd tests/$* && npm ci --silent --no-audit --no-fund
	touch $@

clients/%/node_modules/.installed: clients/%/package-lock.json
	cd clients/$* && npm ci --silent --no-audit --no-fund
	touch $@
