# The course's commands: setup, lab, test, quality, sharp, demo. All set up first. README.md says what each does.
PYTHON ?= python3
STAMP := .venv/.complete
NEEDS_PYTHON := Python 3.11 or newer is needed as "$(PYTHON)": install it, or name it: make setup PYTHON=python3.12
NEEDS_VENV := The venv module of "$(PYTHON)" is missing: install it (on Debian and Ubuntu: apt install python3-venv).

.PHONY: setup lab test quality sharp demo again

setup: $(STAMP)

# The stamp is written last and holds this folder's name. Where it is missing, set-up was interrupted; where it
# holds another name, the folder was moved and .venv points to where it was. Both times .venv is made afresh.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): again
endif

$(STAMP): pyproject.toml autograde/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo '$(NEEDS_PYTHON)' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo '$(NEEDS_VENV)' >&2; exit 1; }
	@test "$$(cat $@ 2>/dev/null)" = "$(CURDIR)" || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@rm -f $@
	@echo 'Installing into .venv: some minutes, the first time. Without a GPU, see README.md for a smaller PyTorch.'
	@.venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[lab,dev]' -e ./autograde
	@echo '$(CURDIR)' > $@

lab: setup
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python -m genmap.lab $(TRACK)

test: setup
	@.venv/bin/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile

quality: setup
	@.venv/bin/python -m autograde.authoring.quality $(LESSON)

sharp: setup
	@.venv/bin/autograde verify --seeds 10000 $(LESSON)
	@.venv/bin/autograde verify --mutants $(LESSON)

demo: setup
	@.venv/bin/python -m autograde.demo
