"""The caption head: it learns from known tokens, writes greedily, and its texts come out whole in any script."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import sacrebleu
from keras import ops
from mmstream_text import decoding
from mmstream_text.caption import Caption
from mmstream_text.tokens import normalise, tokenise

from mmstream.evaluation.outcomes import TrainedHead, outcome_of
from mmstream.interfaces import END, PADDING, RESERVED_IDS, START, UNKNOWN, Fitted

LENGTH, TOKENS, WIDTH, BATCH = 7, 3, 5, 16
VOCABULARY = Fitted((" a", " cat", " dog", ",", "猫", "が", "好", "き", " the", "!"))


def head_of(seed: int = 1, scale: float = 3.0, **parameters) -> Caption:
    """A head of large random weights, so that its texts differ."""
    head = Caption(len(VOCABULARY.vocabulary), LENGTH, units=8, **parameters)
    head.build({"tokens": (None, TOKENS, WIDTH), "vector": (None, WIDTH)})
    random = np.random.default_rng(seed)
    head.set_weights([random.normal(0, scale / np.sqrt(8), weight.shape) for weight in head.weights])
    return head


def reading_of(seed: int = 2) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "tokens": random.normal(0, 2, (BATCH, TOKENS, WIDTH)).astype(np.float32),
        "mask": (random.uniform(size=(BATCH, TOKENS)) < 0.7).astype(np.float32),
        "vector": random.normal(0, 2, (BATCH, WIDTH)).astype(np.float32),
        "present": np.ones(BATCH, np.float32),
    }


def ids_of(*texts: str | None) -> np.ndarray:
    """int64[B, L]: as the text field gives them."""
    rows = []
    for text in texts:
        known = {token: RESERVED_IDS + n for n, token in enumerate(VOCABULARY.vocabulary)}
        row = [known.get(token, UNKNOWN) for token in tokenise(normalise(text or ""))]
        row = [*row, END] if row else []
        rows.append([*row, *[PADDING] * LENGTH][:LENGTH])
    return np.array(rows, np.int64)


def target_of(*texts: str | None) -> dict[str, np.ndarray]:
    given = [text and normalise(text) for text in texts]
    return {
        "ids": ids_of(*texts),
        "present": np.array([text is not None for text in texts], np.float32),
        "text": np.array([text or "" for text in given]),
        "given": np.array(given, object),
    }


def tensors_of(reading):
    return {key: ops.convert_to_tensor(value) for key, value in reading.items()}


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def written_step_by_step(head: Caption, reading: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What greedy generation means: call the head on the text so far, take the likeliest token, and so on."""
    ids, logs = np.zeros((BATCH, LENGTH), np.int64), np.full((BATCH, LENGTH), np.nan)
    for place in range(LENGTH):
        logits = ops.convert_to_numpy(head(reading, {"ids": ids})["logits"])[:, place]
        logits[:, [PADDING, UNKNOWN, START]] = -np.inf
        for row in range(BATCH):
            if END not in ids[row]:
                ids[row, place] = logits[row].argmax()
                logs[row, place] = np.log(softmax(logits[row]).max())
    return ids, np.exp(np.nanmean(logs, axis=1))


# Writing


@pytest.mark.parametrize("seed", [2, 13])  # in these the likeliest token is so by far, on any processor
def test_greedy_generation_is_the_same_as_calling_the_head_step_by_step(seed):
    import tensorflow as tf

    head, reading = head_of(seed), reading_of(seed)
    ids, score = written_step_by_step(head, reading)
    assert len({tuple(row) for row in ids.tolist()}) > BATCH / 2  # the texts differ,
    assert END in ids  # some end,
    assert (ids[:, -1] >= END).any()  # and some are cut off
    for generate in (head.generate, tf.function(head.generate)):
        found = generate({name: tf.constant(array) for name, array in reading.items()})
        assert ops.convert_to_numpy(found["ids"]).tolist() == ids.tolist()
        assert ops.convert_to_numpy(found["score"]) == pytest.approx(score, rel=1e-4)


def test_what_is_written_is_made_of_the_vocabulary_up_to_its_end():
    for seed in range(3):
        for row in ops.convert_to_numpy(head_of(seed).generate(reading_of(seed))["ids"]).tolist():
            length = row.index(END) + 1 if END in row else LENGTH
            assert all(token >= RESERVED_IDS for token in row[: length - 1])
            assert row[length:] == [PADDING] * (LENGTH - length)


def test_a_text_depends_on_the_vector_and_on_the_tokens_that_are_there():
    head, reading = head_of(), reading_of()
    written = ops.convert_to_numpy(head.generate(reading)["ids"])
    for name in ("vector", "tokens"):
        other = ops.convert_to_numpy(head.generate({**reading, name: -reading[name]})["ids"])
        assert (other != written).any(), name
    hidden = np.where(reading["mask"][..., None] > 0, reading["tokens"], 100.0).astype(np.float32)
    assert (ops.convert_to_numpy(head.generate({**reading, "tokens": hidden})["ids"]) == written).all()


# Texts


@pytest.mark.parametrize("text", ["猫が好き", "a cat, the dog!", "猫 猫!", "the 猫が", "a"])
def test_a_text_of_any_script_comes_out_whole(text):
    fitted = Fitted(tuple(dict.fromkeys(tokenise(text))))
    ids = np.array(
        [[*(RESERVED_IDS + fitted.vocabulary.index(token) for token in tokenise(text)), END, 0, 0]], np.int32
    )
    predictions = {"ids": ids, "score": np.array([0.5], np.float32)}
    assert Caption(len(fitted.vocabulary), ids.shape[1]).decode(predictions, fitted, {}) == [(text, 0.5)]


def test_a_text_that_ends_at_once_is_empty():
    predictions = {"ids": np.array([[END, 0], [0, 0]]), "score": np.array([0.5, 0.25])}
    assert Caption(1, 2).decode(predictions, Fitted(("a",)), {}) == [("", 0.5), ("", 0.25)]


# Learning


def test_only_known_tokens_and_the_end_are_learnt():
    target = target_of("a cat", "a zebra", "the dog the dog the dog the", "猫", None, "zebra")
    head = head_of()
    logits = np.random.default_rng(5).normal(size=(6, LENGTH, RESERVED_IDS + 10)).astype(np.float32)
    surprise = -np.log(softmax(logits.astype(np.float64)))
    loss = ops.convert_to_numpy(head.loss({"logits": logits}, target))
    for row, places in enumerate([[0, 1, 2], [0, 2], range(7), [0, 1]]):
        expected = np.mean([surprise[row, place, target["ids"][row, place]] for place in places])
        assert loss[row] == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(loss).all()
    assert ops.convert_to_numpy(head.target_mask(target)).tolist() == [1, 1, 1, 1, 0, 0]


def test_progress_is_the_share_of_known_tokens_and_ends_that_are_the_likeliest():
    target = target_of(" a cat", " a zebra", None)
    likeliest = np.array([[RESERVED_IDS, RESERVED_IDS + 2, END], [RESERVED_IDS, UNKNOWN, PADDING], [END] * 3])
    logits = {"logits": np.eye(RESERVED_IDS + len(VOCABULARY.vocabulary), dtype=np.float32)[likeliest]}
    target["ids"] = target["ids"][:, :3]
    assert target["ids"][0].tolist() == [RESERVED_IDS, RESERVED_IDS + 1, END], "one of three is wrong"
    assert target["ids"][1].tolist() == [RESERVED_IDS, UNKNOWN, END], "one of two is wrong"
    found = ops.convert_to_numpy(head_of().progress(logits, target))
    np.testing.assert_allclose(found, [2 / 3, 1 / 2, 0], rtol=1e-6)


def test_each_token_is_predicted_from_those_before_it_alone():
    head, reading = head_of(), {name: array[:1] for name, array in reading_of().items()}
    first, second = (
        ops.convert_to_numpy(head(reading, {"ids": ids_of(text)})["logits"])[0] for text in ("a cat, a", "a dog, a")
    )
    assert first[:2] == pytest.approx(second[:2], abs=1e-6)  # " a" and what follows " a"
    assert np.abs(first[2] - second[2]).max() > 1e-3


def test_dropout_is_only_for_training():
    head, reading, target = head_of(dropout=0.5), reading_of(), {"ids": ids_of(*["a cat"] * BATCH)}
    first, again = (ops.convert_to_numpy(head(reading, target, training=False)["logits"]) for _ in range(2))
    assert (first == again).all()
    assert (ops.convert_to_numpy(head(reading, target, training=True)["logits"]) != first).any()


def test_a_head_learns_to_write_what_it_is_shown():
    keras.utils.set_random_seed(1)
    head = Caption(len(VOCABULARY.vocabulary), LENGTH, units=32, dropout=0.0)
    head.build({"tokens": (None, 2, 2), "vector": (None, 2)})
    vectors = np.eye(2, dtype=np.float32)
    tokens = vectors[:, None].repeat(2, 1)
    reading = {"tokens": tokens, "mask": np.ones((2, 2)), "vector": vectors, "present": np.ones(2)}
    reading = {name: ops.convert_to_tensor(array, "float32") for name, array in reading.items()}
    target = target_of("猫が好き", "the cat, a dog!")
    optimizer = keras.optimizers.Adam(0.02)

    import tensorflow as tf

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(head.loss(head(reading, target, training=True), target))
        weights = head.trainable_variables
        optimizer.apply(tape.gradient(loss, weights), weights)

    for _ in range(60):
        step()
    written = {name: ops.convert_to_numpy(value) for name, value in head.generate(reading).items()}
    found = head.decode(written, VOCABULARY, {})
    assert [text for text, _ in found] == ["猫が好き", "the cat, a dog!"]
    metrics = head.evaluate(outcome_of(TrainedHead(head, VOCABULARY, {}), written, target))
    assert metrics == pytest.approx({"bleu4": 1, "chrf": 1, "exact": 1})
    assert min(score for _, score in found) > 0.5


# Metrics


def predictions_of(*texts: str) -> dict[str, np.ndarray]:
    ids = ids_of(*texts)
    return {"ids": ids, "score": np.ones(len(ids), np.float32)}


def evaluate(found: list[str], wanted: list[str | None]) -> dict[str, float]:
    head = head_of()
    return head.evaluate(outcome_of(TrainedHead(head, VOCABULARY, {}), predictions_of(*found), target_of(*wanted)))


def test_texts_met_exactly_have_the_best_metrics_in_any_script():
    for texts in (["a cat, the dog!"], ["猫が好き"], ["猫が好き", "a cat"]):
        assert evaluate(texts, texts) == pytest.approx({"bleu4": 1, "chrf": 1, "exact": 1})


def test_texts_of_fewer_than_four_tokens_can_be_met_exactly_as_well():
    assert evaluate(["a cat", "猫"], ["a cat", "猫"]) == pytest.approx({"bleu4": 1, "chrf": 1, "exact": 1})


def test_bleu_is_counted_over_the_tokens_of_the_field():
    found = evaluate(["猫が好き!", "a cat the dog a cat"], ["猫が好き", "a cat, the dog a cat"])
    bleu = sacrebleu.corpus_bleu(
        ["猫 が 好 き !", "a cat the dog a cat"], [["猫 が 好 き", "a cat , the dog a cat"]], tokenize="none"
    )
    chrf = sacrebleu.corpus_chrf(["猫が好き!", "a cat the dog a cat"], [["猫が好き", "a cat, the dog a cat"]])
    assert found == pytest.approx({"bleu4": bleu.score / 100, "chrf": chrf.score / 100, "exact": 0})
    assert 0.3 < found["bleu4"] < 0.9


def test_metrics_leave_out_records_without_a_text():
    assert evaluate(["a cat the dog", "!", "dog"], ["a cat the dog", None, None])["exact"] == 1
    assert evaluate(["a cat", "dog"], ["a cat", "cat"])["exact"] == 0.5
    assert evaluate(["a cat"], [None]) == {}


def test_a_token_that_is_not_known_can_not_be_met():
    assert evaluate(["a cat"], ["a zebra"])["exact"] == 0


def test_nothing_written_is_worth_nothing():
    assert evaluate(["", ""], ["a cat the dog", "猫が好き"]) == {"bleu4": 0, "chrf": 0, "exact": 0}


def teacher_forced(head, reading, ids):
    """The mean log-likelihood of texts, float[B], as their head sees them."""
    logits = np.array(head(reading, {"ids": ids})["logits"], np.float64)
    logits[..., [PADDING, UNKNOWN, START]] = -np.inf
    each = np.log(
        np.take_along_axis(softmax(logits), ids[..., None], axis=-1)[..., 0], where=ids > 0, out=np.zeros(ids.shape)
    )
    return each.sum(1) / (ids > 0).sum(1)


def test_a_beam_search_finds_texts_at_least_as_likely_as_the_greedy_ones_and_scores_them_right():
    greedy, beams = head_of(), head_of(beams=6)
    reading = reading_of()
    one, other = (keras.tree.map_structure(np.asarray, head.generate(reading)) for head in (greedy, beams))
    assert (one["ids"] != other["ids"]).any()
    np.testing.assert_allclose(np.log(one["score"]), teacher_forced(greedy, reading, one["ids"]), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        np.log(other["score"]), teacher_forced(greedy, reading, other["ids"]), rtol=1e-3, atol=1e-4
    )
    assert (other["score"] >= one["score"] * 0.999).mean() > 0.9
    assert other["score"].mean() > one["score"].mean()


def test_a_search_with_one_beam_for_every_text_finds_the_likeliest_of_all():
    words = Fitted((" a", " b"))
    head = Caption(2, 3, units=8, beams=64)
    head.build({"tokens": (None, TOKENS, WIDTH), "vector": (None, WIDTH)})
    random = np.random.default_rng(4)
    head.set_weights([random.normal(0, 1, weight.shape) for weight in head.weights])
    reading = reading_of()
    letters = range(RESERVED_IDS, RESERVED_IDS + len(words.vocabulary))
    texts = [
        [END, 0, 0],
        *([a, END, 0] for a in letters),
        *([a, b, c] for a in letters for b in letters for c in (END, *letters)),
    ]
    scores = np.stack([teacher_forced(head, reading, np.array([text] * BATCH)) for text in texts])
    found = keras.tree.map_structure(np.asarray, head.generate(reading))
    assert found["ids"].tolist() == [texts[place] for place in scores.argmax(0)]


def test_samples_differ_by_seed_and_temperature_but_not_by_batch():
    reading = reading_of()

    def texts(temperature=0.0, seed=0):
        head = head_of(temperature=temperature)
        head.seed = seed
        return np.asarray(head.generate(reading)["ids"])

    hot, same, other = texts(1.0), texts(1.0), texts(1.0, seed=1)
    assert (hot == same).all()
    assert (hot != other).any(axis=1).mean() > 0.5
    assert (texts(0.01) == texts()).all(axis=1).mean() > 0.9
    turned = {key: value[::-1] for key, value in reading.items()}
    assert (np.asarray(head_of(temperature=1.0).generate(turned)["ids"])[::-1] == hot).all()


def test_samples_come_as_often_as_the_network_says():
    noise = decoding.gumbel_noise(np.linspace(-3000, 3000, 4000).astype(np.int32), 4, 1.0, 0)
    wanted = np.array([0.1, 0.2, 0.3, 0.4])
    for place in (0, 5):
        chosen = (np.log(wanted) + np.asarray(noise(np.int32(place)))).argmax(1)
        np.testing.assert_allclose(np.bincount(chosen, minlength=4) / 4000, wanted, atol=0.04)


def test_beams_and_temperature_do_not_go_together():
    with pytest.raises(ValueError, match="beams and temperature cannot be combined"):
        head_of(beams=2, temperature=1.0)


def test_the_likeliest_text_is_sampled_without_a_seed_and_padding_follows_its_end():
    head, reading = head_of(3), tensors_of(reading_of())
    sampled = ops.convert_to_numpy(head.sample(reading))
    np.testing.assert_allclose(sampled.sum(-1), 1, atol=1e-6)
    assert (sampled.argmax(-1) == ops.convert_to_numpy(head.generate(reading)["ids"])).all()
    assert (sampled.max(-1) > 0.999).all(), "forwards, a token is one of the ids"


def test_texts_are_sampled_as_often_as_the_network_says():
    head = head_of(5, scale=1.0)
    reading = {key: ops.repeat(value[:1], 4000, axis=0) for key, value in tensors_of(reading_of()).items()}
    sampled = ops.convert_to_numpy(head.sample(reading, keras.random.SeedGenerator(1)))
    logits = ops.convert_to_numpy(head({k: v[:1] for k, v in reading.items()}, {"ids": ids_of(" a")})["logits"])[0, 0]
    logits[[PADDING, UNKNOWN, START]] = -np.inf
    np.testing.assert_allclose(sampled[:, 0].mean(0), softmax(logits), atol=0.03)


def test_gradients_of_what_reads_a_sampled_text_reach_all_of_the_head_and_its_reading():
    import tensorflow as tf

    head, reading = head_of(3), tensors_of(reading_of())
    sources = [reading["tokens"], reading["vector"]]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        sampled = head.sample(reading, keras.random.SeedGenerator(1))
        wanted = tf.reduce_sum(sampled * np.random.default_rng(0).normal(size=sampled.shape).astype(np.float32))
    found = tape.gradient(wanted, [*sources, *(weight.value for weight in head.trainable_weights)])
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in map(ops.convert_to_numpy, found))
