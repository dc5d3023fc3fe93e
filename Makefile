# What there is to do here. `make demo`, `make test` and `make bench` install what they need first (scripts/install-packages).

CARGO ?= cargo
PREFIX ?= /usr/local
SHARE = $(PREFIX)/share
# Random trees of the property test in `make check`; `make test` takes 200.
CHECK_CASES ?= 30
# no: `make bench` leaves out the pure parts.
BENCH_PURE ?= yes

.PHONY: demo test torture check bench install setup

# The whole life of a mirror, on two throw-away disk images. Needs root.
demo:
	@scripts/install-packages demo
	@$(CARGO) build --locked --quiet
	@$(CARGO) run --locked --quiet -- demo

# Everything, virtual machines included. As root; what cannot run without says so.
test: setup
	@scripts/run-tests

# The tests that take chances, for hours (TORTURE_HOURS), each round with another seed. As root.
torture: setup
	@scripts/torture

# What a change must pass before it is shown to anybody: a few minutes, no root, no virtual machine.
check:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	DISKMIRROR_CASES=$(CHECK_CASES) $(CARGO) test --locked --lib --bins --test layering --test judges --test sync_properties
	@scripts/check-dependencies

# The pure parts alone, then whole trees against rsync and others, in paired rounds. Hours at full size: doc/testing.md
# tells how to choose. Needs root and a quiet machine.
bench:
	@scripts/install-packages bench
	@[ "$(BENCH_PURE)" = no ] || $(CARGO) bench --locked --bench pure
	$(CARGO) bench --locked --bench against

# The program, its man pages and completions, and the documents. DESTDIR and PREFIX are respected; no root is needed
# where they can be written to.
install:
	$(CARGO) build --locked --release
	install -D -m 0755 "$$(scripts/built release)" $(DESTDIR)$(PREFIX)/sbin/diskmirror
	manual="$$(scripts/built release)-manual" && rm -rf "$$manual" && \
	$(CARGO) run --locked --release --quiet --example manual -- "$$manual" && \
	install -D -m 0644 -t $(DESTDIR)$(SHARE)/man/man1 "$$manual"/*.1 && \
	install -D -m 0644 "$$manual"/diskmirror.bash $(DESTDIR)$(SHARE)/bash-completion/completions/diskmirror && \
	install -D -m 0644 -t $(DESTDIR)$(SHARE)/zsh/site-functions "$$manual"/_diskmirror && \
	install -D -m 0644 -t $(DESTDIR)$(SHARE)/fish/vendor_completions.d "$$manual"/diskmirror.fish
	install -D -m 0644 -t $(DESTDIR)$(SHARE)/doc/diskmirror README.md NEWS.md LICENSE-MIT LICENSE-APACHE
	install -D -m 0644 -t $(DESTDIR)$(SHARE)/doc/diskmirror/doc doc/*.md
	[ ! -d doc/performance ] || \
	install -D -m 0644 -t $(DESTDIR)$(SHARE)/doc/diskmirror/doc/performance doc/performance/*.svg

setup:
	@scripts/install-packages test
