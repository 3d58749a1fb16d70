# The commands of the project. Most run a script of the same name in scripts/.

.DEFAULT_GOAL := help
.PHONY: help run test chaos bench profile instructions lint deny sqlx proto docs clean-data

SCRIPTS = $(shell grep -lr '^\#!/usr/bin/env bash' .ci scripts examples) scripts/lib.sh examples/lib.sh

help: ## prints this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-20s %s\n' "  $$name" "$$text"; done

run: ## builds, starts everything, invites 280 people, accepts one invitation, then serves (ONCE=1: ends then)
	@ONCE='$(ONCE)' scripts/run

test: ## runs all tests on a private Postgres (ARGS='...': options of cargo test)
	@scripts/test $(ARGS)

chaos: ## runs the tests of faults that take minutes, one after the other (ARGS=faults::relay: some of them)
	@scripts/test --test it -- --ignored --test-threads=1 --nocapture $(ARGS)

bench: ## compares the service with references that do the same work (ARGS='--quick bulk_create accept')
	@scripts/bench $(ARGS)

profile: ## draws flame graphs of one operation into .data/profile (ARGS=bulk_create)
	@scripts/profile $(ARGS)

instructions: ## compares instruction counts with the stored ones (ARGS=--write: stores them)
	@scripts/instructions $(ARGS)

lint: ## checks the format, the code and the scripts
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	@if command -v shellcheck >/dev/null; then shellcheck --external-sources $(SCRIPTS); else echo 'shellcheck is not installed; scripts are not checked'; fi
	@scripts/check-words
	@if command -v codespell >/dev/null; then git ls-files -z | xargs -0 codespell; else echo 'codespell is not installed; spelling is not checked'; fi

deny: ## checks the dependencies: advisories, licences, sources and bans
	scripts/deny

sqlx: ## updates .sqlx after a query or a migration changed
	scripts/sqlx

proto: ## checks the protocol with buf
	scripts/buf lint
	scripts/buf format --diff --exit-code

docs: ## updates docs/errors.md after a comment in the protocol changed
	WRITE_DOCS=1 cargo test --locked --test it -- project::errors::

clean-data: ## deletes .data and the private Postgres clusters, with all emails, keys and tokens
	scripts/postgres remove
	scripts/postgres remove --fast
	rm -rf .data
