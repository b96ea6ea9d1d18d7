# The habits, one line each. `make demo` and `make test` install what they need on a bare Debian 12.
.PHONY: demo test bench lint fuzz prepare

demo: ; ./scripts/demo
test: prepare ; cargo test --workspace
bench: ; ./scripts/bench
lint: ; ./scripts/lint
fuzz: ; ./scripts/fuzz
prepare: ; ./scripts/prepare
