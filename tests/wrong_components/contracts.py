"""The contracts of `wrong_components`; tests/testing/test_testing.py runs this file and knows which of them fail."""

from __future__ import annotations

from mmstream.testing import (
    EncoderContract,
    FieldContract,
    FusionContract,
    HeadContract,
    ObjectiveContract,
    SinkContract,
    SourceContract,
    TokenizerContract,
)


class TestSound(EncoderContract):
    name = "sound"
    parameters = {"scale": 0.5}
    field = "sound_field"
    field_parameters = {"length": 3}
    tensors = {"series": [[1, 2, 3], [1, 2, 0], [4, 0, 0], [0, 0, 0]]}
    lengthened = ("series",)


class TestForgetful(TestSound):
    name = "forgetful"


class TestUnnamed(TestSound):
    name = "unnamed"


class TestMingling(TestSound):
    name = "mingling"


class TestOverlong(TestSound):
    name = "overlong"


class TestNarrow(TestSound):
    name = "narrow"


class TestStranger(TestSound):
    name = "stranger"


class TestSoundFusion(FusionContract):
    name = "sound_fusion"


class TestLeakyFusion(FusionContract):
    name = "leaky_fusion"


class TestUnmaskedFusion(FusionContract):
    name = "unmasked_fusion"


class TestEmptyFusion(FusionContract):
    name = "empty_fusion"


class TestSoundHead(HeadContract):
    name = "sound_head"
    field = "sound_field"
    target = {"series": [[1, 2], [3, 0], [0, 0]], "present": [1, 1, 0]}
    target_mask = [1, 1, 0]
    given = [3.0, 3.0, None]


class TestEagerHead(TestSoundHead):
    name = "eager_head"


class TestHalfHead(TestSoundHead):
    name = "half_head"


class TestInfiniteHead(TestSoundHead):
    name = "infinite_head"


class TestNumpyHead(TestSoundHead):
    name = "numpy_head"


class TestSoundObjective(ObjectiveContract):
    name = "sound_objective"


class TestDividingObjective(ObjectiveContract):
    name = "dividing_objective"


class TestBuiltLateObjective(ObjectiveContract):
    name = "built_late_objective"


class TestSoundField(FieldContract):
    name = "sound_field"
    values = [b"1,2", b"3"]
    absent = [b""]
    bad = [b"x"]


class TestKeyErrorField(TestSoundField):
    name = "key_error_field"


class TestHeavyField(TestSoundField):
    name = "heavy_field"


class TestRestlessField(TestSoundField):
    name = "restless_field"


class TestUnpicklableField(TestSoundField):
    name = "unpicklable_field"


class TestUnevenlyHashedField(TestSoundField):
    name = "unevenly_hashed_field"


class TestMiscountingField(TestSoundField):
    name = "miscounting_field"


class TestOversizeField(TestSoundField):
    name = "oversize_field"


class TestSoundSource(SourceContract):
    name = "sound_source"
    files = {"input.txt": b"one\n\xff\nthree\nfour"}
    path = "input.txt"
    rows = {
        "input.txt:1": {"line": "one"},
        "input.txt:2": None,
        "input.txt:3": {"line": "three"},
        "input.txt:4": {"line": "four"},
    }
    cuts = {"LINES": 3}


class TestForgettingSource(TestSoundSource):
    name = "forgetting_source"


class TestMiscountingSource(TestSoundSource):
    name = "miscounting_source"


class TestSoundSink(SinkContract):
    name = "sound_sink"


class TestCountingSink(SinkContract):
    name = "counting_sink"


class TestHashingSink(SinkContract):
    name = "hashing_sink"


class TestLossySink(SinkContract):
    name = "lossy_sink"


class TestSoundTokenizer(TokenizerContract):
    name = "sound_tokenizer"


class TestEndlessTokenizer(TokenizerContract):
    name = "endless_tokenizer"


class TestHashingTokenizer(TokenizerContract):
    name = "hashing_tokenizer"
