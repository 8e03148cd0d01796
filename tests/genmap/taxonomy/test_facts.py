"""data/map.toml: every field there and of its type, every reference resolved, every promised name."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import get_type_hints

import pytest
from matplotlib.mathtext import MathTextParser

from genmap.taxonomy import PERMITS, UNDISCLOSED, Family, load
from genmap.taxonomy.ranking import month, ranked

ATLAS = load()
PARTS = [field.name for field in fields(ATLAS)]
ENTRIES = {f"{part}/{key}": entry for part in PARTS for key, entry in getattr(ATLAS, part).items()}
WORKS = {name: entry for name, entry in ENTRIES.items() if name.startswith(("families/", "models/"))}
MODELS, FAMILIES = ATLAS.models.values(), ATLAS.families.values()

PROMISED = """
ChatGPT image (GPT-4o) | Midjourney v5 | Midjourney v7 | DALL-E 1 | DALL-E 2 | DALL-E 3 | Imagen |
Stable Diffusion 1 | SDXL | SDXL-Turbo | Stable Diffusion 3 | SD3-Turbo | LCM | Flux.1 | Sora | Veo 2 |
Kling 1.5 | Runway Gen-3 Alpha | Nano Banana | ElevenLabs | AudioLM | AudioCraft 2 (MelodyFlow) | VALL-E |
MusicGen | MuseNet | Parti | GPT | PixelCNN | PixelRNN | WaveNet | RealNVP | Glow | VAE | GAN |
Conditional GAN | CycleGAN | StyleGAN | StyleGAN 2 | StyleGAN 3 | BigGAN | Progressive GAN | DRAW |
Transformer | VQ-VAE | NCSN | DDPM | DDIM | Score SDE | CLIP | VQGAN | LoRA | DPM-Solver |
Classifier-free guidance | Flow matching | Rectified flow | ControlNet | Consistency models | DiT | NADE |
MADE | RBM | 3-D Gaussian splatting | VAE-GAN | EDM | Progressive distillation | SoundStream | EnCodec | FSQ |
MaskGIT | Latent diffusion | DreamFusion | DCGAN | WGAN-GP | Spectral normalisation |
Projection discriminator | IWAE | beta-VAE | Noise-contrastive estimation | BERT | T5 | SR3 | RePaint
"""


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_every_field_is_there_and_of_its_type(entry):
    hints = get_type_hints(type(entry))
    for field in fields(entry):
        value, empty = getattr(entry, field.name), field.default in ("", 0, 1, False)
        if hints[field.name] == tuple[str, ...]:
            assert all(type(item) is str and item.strip() == item != "" for item in value), field.name
        elif hints[field.name] == Mapping[str, int]:
            assert value and all(type(number) is int for number in value.values()), field.name
        else:
            assert type(value) is hints[field.name], field.name
        if isinstance(value, str):
            assert value.strip() == value, f"{field.name}: blanks around it"
            assert value or (empty and field.default is not MISSING), f"{field.name} is empty"


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_words_of_a_work(work):
    assert work.density in {"tractable", "approximate", "score", "none", UNDISCLOSED}
    assert work.sampling in {"one-shot", "iterative", "serial", "none", UNDISCLOSED}
    assert work.bucket in {0, *ATLAS.buckets}
    assert work.shape in {*ATLAS.shapes, "none", UNDISCLOSED}
    assert work.strengths and work.weaknesses and work.uses


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_evidence_and_date(work):
    assert re.fullmatch(r"(19|20)\d\d(-(0[1-9]|1[0-2]))?", work.date)
    assert 1960 <= work.year <= 2026
    assert bool(work.arxiv) != bool(work.source), "an arXiv id or an address, not both"
    if work.source:
        assert re.fullmatch(r"https://[\w.-]+\.\w+[^\s]*", work.source)
        return
    assert re.fullmatch(r"\d{4}\.\d{4}" if work.arxiv < "1501" else r"\d{4}\.\d{5}", work.arxiv)
    posted = f"20{work.arxiv[:2]}-{work.arxiv[2:4]}"
    apart = abs(month(posted) - month(work.date))
    assert apart <= 1 or work.note, f"public in {work.date}, on arXiv in {posted}: a note must say why"


def test_references():
    lessons = set(ATLAS.lessons)
    for family in FAMILIES:
        assert set(family.lessons) <= lessons, family.id
        assert set(family.examples) <= set(ATLAS.models), family.id
        assert family.also in {0, *ATLAS.buckets} - {family.bucket}, family.id
    for model in MODELS:
        assert model.family in {*ATLAS.families, "none", UNDISCLOSED}, model.id
        assert model.lesson in lessons, model.id
    assert {term.lesson for term in ATLAS.terms.values()} <= lessons


def test_names_are_unique():
    for part in PARTS:
        names = [getattr(entry, "name", entry.id) for entry in getattr(ATLAS, part).values()]
        assert len(set(names)) == len(names), part


def test_every_promised_name_is_there():
    promised = {name.strip() for name in PROMISED.replace("\n", " ").split("|")}
    assert promised <= {model.name for model in MODELS}


def test_models_say_how_open_they_are():
    for model in MODELS:
        assert model.openness in {"open weights", "code", "hosted", "withdrawn", "paper only"}, model.id
        assert model.lane in {other.lane for other in MODELS if other.landmark}, model.id


def test_nothing_is_known_of_what_is_undisclosed():
    for model in MODELS:
        if model.family == UNDISCLOSED:
            assert (model.bucket, model.density, model.sampling) == (0, UNDISCLOSED, UNDISCLOSED), model.id
            assert model.source, f"{model.id}: where does the maker say so little?"


def test_a_part_generates_nothing_by_itself():
    parts = [model for model in MODELS if model.family == "none"]
    assert {"clip", "lora", "controlnet", "gaussian-splatting"} <= {part.id for part in parts}
    assert {(part.bucket, part.density, part.sampling, part.shape) for part in parts} == {(0, *["none"] * 3)}


def test_families_fill_the_buckets():
    assert {family.bucket for family in FAMILIES} == set(ATLAS.buckets) == {1, 2, 3, 4, 5}
    views = {family.id: {family.bucket, family.also} for family in FAMILIES}
    assert views["score"] == {3, 4} and views["diffusion"] == {2, 4}, "both views of score-based models"
    assert all(isinstance(family, Family) and family.density != UNDISCLOSED for family in FAMILIES)


def test_dates_where_the_usual_story_is_wrong():
    dates = {model.id: model.date for model in MODELS}
    assert dates["pixelcnn"] == "2016-01"
    assert dates["stylegan"] == "2018-12"
    assert dates["lora"] == "2021-06"
    assert dates["gen3"] < dates["kling15"] < dates["veo2"] == "2024-12"
    assert all(
        ATLAS.models[name].note for name in ("stylegan", "lora", "gen3", "kling15", "veo2", "audiocraft2")
    )


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_age(model):
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", model.checked), "when was it last looked up?"
    assert re.fullmatch(r"(20\d\d-(0[1-9]|1[0-2])|undated)?", model.retired)
    assert model.openness != "withdrawn" or model.retired, "since when is it no longer offered?"
    assert month(model.date) <= month(model.checked), "looked up before it was public"


def test_nothing_that_is_retired_is_recommended():
    for task in ATLAS.tasks.values():
        retired = [name for name in (*task.open, *task.hosted) if ATLAS.models[name].retired]
        assert not retired, f"{task.id}: {retired}"


def test_ranked_means_ranked_by_the_criteria():
    for task in ATLAS.tasks.values():
        assert ranked(ATLAS, task, task.open, is_open=True) == task.open, task.id
        assert ranked(ATLAS, task, task.hosted, is_open=False) == task.hosted, task.id


def test_open_picks_say_what_their_licence_permits():
    for model in (ATLAS.models[name] for task in ATLAS.tasks.values() for name in task.open):
        assert model.permits in PERMITS, model.id
        assert bool(model.licence) == (model.permits != "no licence stated"), model.id
        if re.search("non-commercial|NC", model.licence):
            assert model.permits == "non-commercial", model.id


def test_boards_are_public_dated_and_of_models_of_the_map():
    for board in ATLAS.boards.values():
        assert re.fullmatch(r"https://[\w.-]+\.\w+/\S+", board.source), board.id
        assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", board.seen), board.id
        assert set(board.scores) <= set(ATLAS.models), board.id
    used = {name for task in ATLAS.tasks.values() for name in (task.open_board, task.hosted_board) if name}
    assert used == set(ATLAS.boards)


def test_tasks_rank_what_can_be_had():
    for task in ATLAS.tasks.values():
        assert task.family in ATLAS.families, task.id
        assert len(set(task.open)) == len(task.open) >= 3, task.id
        assert {ATLAS.models[name].openness for name in task.open} <= {"open weights", "code"}, task.id
        hosted = [ATLAS.models[name] for name in task.hosted]
        assert all(model.openness == "hosted" or model.served for model in hosted), task.id
        assert len(set(task.hosted)) == len(task.hosted), task.id
        assert len(task.hosted) >= 3 or task.hosted_note, f"{task.id}: why are there so few hosted ones?"


def test_six_inference_shapes_with_a_formula_each():
    assert len(ATLAS.shapes) == 6
    for shape in ATLAS.shapes.values():
        assert shape.cost.startswith("T = ")
        MathTextParser("path").parse(f"${shape.cost}$")
        MathTextParser("path").parse(shape.symbols)
        assert shape.symbols.count("$") >= 4, "symbols stand in dollar signs"
    assert {family.shape for family in FAMILIES} == set(ATLAS.shapes)


def test_35_lessons_in_order():
    ids = list(ATLAS.lessons)
    assert [name[:2] for name in ids] == [f"{number:02}" for number in range(1, 36)]
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+", name) for name in ids)
    assert all(set(family.lessons) for family in FAMILIES)
