# The commands of the project. Each is a script that can be read and run by itself.

.DEFAULT_GOAL := help
.PHONY: help run test bench profile instructions lint deny sqlx proto docs clean-data

help: ## shows this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-20s %s\n' "  $$name" "$$text"; done

run: ## builds, starts everything, invites 280 people, accepts one and goes on serving (ONCE=1: ends then)
	@ONCE='$(ONCE)' scripts/run

test: ## runs all tests on a Postgres of their own (ARGS='...' for cargo test)
	@scripts/test $(ARGS)

bench: ## measures everything beside what the machine can do without it, in one table (ARGS='--quick bulk_create accept')
	@scripts/bench $(ARGS)

profile: ## draws where the time of one operation goes, into .data/profile (ARGS=bulk_create)
	@scripts/profile $(ARGS)

instructions: ## counts the instructions of the pure parts and compares them with those written down (ARGS=--write)
	@scripts/instructions $(ARGS)

lint: ## checks format, lints and scripts
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	@if command -v shellcheck >/dev/null; then shellcheck --external-sources $(filter-out scripts/words.txt,$(wildcard scripts/*)); else echo 'shellcheck is not installed, scripts not checked'; fi
	@scripts/check-words
	@if command -v codespell >/dev/null; then git ls-files -z | xargs -0 codespell; else echo 'codespell is not installed; spelling is not checked'; fi

deny: ## checks the dependencies: advisories, licences, sources, bans
	scripts/deny

sqlx: ## writes .sqlx anew after a query or a migration changed
	scripts/sqlx

proto: ## checks the protocol with buf
	scripts/buf lint
	scripts/buf format --diff --exit-code

docs: ## writes docs/errors.md anew after a comment of the protocol changed
	WRITE_DOCS=1 cargo test --locked --test it -- --exact project::errors::the_page_of_errors_says_what_the_protocol_says

clean-data: ## stops the private Postgres clusters and deletes .data with all mails, keys and tokens
	scripts/postgres remove
	scripts/postgres remove --fast
	rm -rf .data
