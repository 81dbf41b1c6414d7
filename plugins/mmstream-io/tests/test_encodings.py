"""Which encoding a table is in, by its bytes: told, or refused with the likely ones."""

from __future__ import annotations

import gzip

import pytest
from mmstream_io.csv import Csv
from mmstream_io.encodings import encoding_of

from mmstream.errors import MmstreamError

TEXTS = {
    "German": "Schöne grüne Tür;Käse;Straße nach Köln;Äpfel und Nüsse;große Größe;Übergröße weiß;Müsli süß;Öl",
    "French": "Café très agréable;théâtre fermé;où êtes-vous allé;garçon à la forêt;crème brûlée;déjà vu;prix élevé",
    "Spanish": "El niño comió;¿Qué tal?;habitación pequeña;España;mañana será mejor;café con azúcar;señor;corazón",
    "Swedish": "Fin grön dörr;hög kvalitet på båten;räksmörgås;köp själv;mycket dålig;för stor;går sönder;åt vänster",
    "English": "it costs £5 – cheap;don’t do it;“quoted” words;café;€20 only;naïve idea;résumé of a £9 – £12 thing",
    "Polish": "Zażółć gęślą jaźń;polecam każdemu;źle się czuję;książka jest świetna;łóżko;środa;niższa cena;ładny",
    "Czech": "Příliš žluťoučký kůň;velmi dobrý;špatná kvalita;děkuji, přijďte zas;hračka pro děti;červená židle;řeka",
    "Hungarian": "Árvíztűrő tükörfúrógép;nagyon jó minőség;gyenge termék;köszönöm szépen;őszi eső;szép zöld fű;kék",
    "Turkish": "Çok güzel ürün;kötü kalite;hızlı teslimat;teşekkürler;kırmızı masa;yeşil lamba;İstanbul'da;ağaç, ışık",
    "Lithuanian": "Labai gera prekė;bloga kokybė;ačiū;žalia lempa;šiltas vanduo;ąžuolas;įdomu;ūkis;ęsinys",
    "Russian": "Очень хороший товар;плохое качество;быстрая доставка;спасибо большое;красный стол;зелёная лампа;дёшево",
    "Greek": "Πολύ καλό προϊόν;κακή ποιότητα;γρήγορη παράδοση;ευχαριστώ πολύ;κόκκινο τραπέζι;πράσινη λάμπα;φθηνό",
    "Hebrew": "מוצר טוב מאוד;איכות גרועה;משלוח מהיר;תודה רבה;שולחן אדום;מנורה ירוקה;יקר;זול",
    "Arabic": "منتج جيد جدا;جودة سيئة;توصيل سريع;شكرا جزيلا;طاولة حمراء;مصباح أخضر;غالي;رخيص",
    "Thai": "สินค้าดีมาก;คุณภาพแย่;ส่งเร็ว;ขอบคุณมาก;โต๊ะสีแดง;โคมไฟสีเขียว;แพง;ถูก",
    "Japanese": "とても良い商品です;品質が悪い;配送が速い;ありがとうございます;赤い机;緑のランプ;高い;安い",
    "Chinese": "非常好的产品;质量很差;送货很快;非常感谢;红色的桌子;绿色的灯;太贵了;很便宜",
    "Taiwanese": "非常好的產品;品質很差;送貨很快;非常感謝;紅色的桌子;綠色的燈;太貴了;很便宜",
    "Korean": "아주 좋은 제품입니다;품질이 나쁩니다;배송이 빨라요;감사합니다;빨간 책상;초록색 램프;비싸요;싸요",
}
ENCODINGS = [
    *((language, "cp1252") for language in ("German", "French", "Spanish", "Swedish", "English")),
    *(
        ("Polish", "cp1250"),
        ("Czech", "cp1250"),
        ("Hungarian", "cp1250"),
        ("Turkish", "cp1254"),
        ("Lithuanian", "cp1257"),
    ),
    *(("Russian", "cp1251"), ("Russian", "koi8_r"), ("Greek", "cp1253"), ("Hebrew", "cp1255"), ("Arabic", "cp1256")),
    *(("Thai", "cp874"), ("Japanese", "cp932"), ("Japanese", "euc_jp"), ("Chinese", "gbk"), ("Taiwanese", "big5")),
    ("Korean", "cp949"),
]


def lines_of(language: str, encoding: str) -> list[bytes]:
    return [f"{text},pos".encode(encoding) for text in TEXTS[language].split(";") if not text.isascii()]


@pytest.mark.parametrize(("language", "encoding"), ENCODINGS)
def test_a_few_lines_tell_their_encoding(language, encoding):
    lines = lines_of(language, encoding)
    told = encoding_of(lines)
    assert told.encoding == told.likely[0]
    assert [line.decode(told.encoding) for line in lines] == [line.decode(encoding) for line in lines]
    assert told.example in lines[0].decode(encoding)


@pytest.mark.parametrize(("language", "encoding"), [("Japanese", "cp932"), ("Chinese", "gbk"), ("Korean", "cp949")])
def test_a_broken_line_does_not_hide_the_encoding(language, encoding):
    lines = [*lines_of(language, encoding) * 20, b"\xff\xff\x81"]
    assert encoding_of(lines).encoding == encoding_of(lines[:-1]).encoding != ""


@pytest.mark.parametrize(
    ("language", "encoding"), [("Chinese", "gbk"), ("Russian", "cp1251"), ("Greek", "cp1253"), ("Arabic", "cp1256")]
)
def test_a_line_that_does_not_tell_is_refused_with_the_likely_ones(tmp_path, language, encoding):
    (tmp_path / "rows.csv").write_bytes(b"text,label\n" + lines_of(language, encoding)[0] + b"\n")
    likely = "gb18030" if encoding == "gbk" else encoding
    with pytest.raises(MmstreamError, match=rf"is not UTF-8, .*: set `encoding` in `source`, likely to .*{likely}"):
        Csv.suggest(str(tmp_path / "rows.csv"))


def test_bytes_of_no_encoding_are_refused_without_any():
    told = encoding_of([bytes([0x81, 0xFF, 0x8D, 0x8F, 0x90, 0x9D, 0xA0, 0xDB, 0xFC, 0xD2, 0x80])])
    assert told.encoding == ""


def suggested(path, data: bytes):
    path.write_bytes(data)
    return Csv.suggest(str(path))


def test_another_encoding_is_suggested_only_where_most_lines_are_not_utf_8(tmp_path):
    good, bad = "schön grün,pos\n".encode(), "schön grün,pos\n".encode("cp1252")
    path = tmp_path / "rows.csv"
    assert suggested(path, b"text,label\n" + b"plain,pos\n" * 9) is None
    assert suggested(path, b"text,label\n" + good * 9 + bad) is None
    assert suggested(path, b"text,label\n" + good * 5 + bad * 5) is None
    assert suggested(path, "text,label\ngrün,x\n".encode("utf-16")) is None
    told = suggested(path, b"text,label\n" + b"plain,pos\n" * 99 + good + bad * 9)
    assert told.parameters == {"encoding": "cp1252"}
    assert "read as cp1252, it contains 'sch" in told.why
    assert "if that is wrong, set `encoding` in `source` to another" in told.why


def test_an_encoding_is_told_in_packed_files_and_over_all_of_a_folder(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text,label\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"text\n" + b"\n".join(lines_of("Japanese", "cp932"))))
    assert Csv.suggest(str(tmp_path)).parameters == {"encoding": "cp932"}
