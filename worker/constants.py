"""Numbers of the pipeline, each with its source."""

# Whisper was trained on 16 kHz mono audio in windows of 30 s, to which every input is padded
# (Radford et al. 2022, section 2.2): a chunk of 31 s costs as much as one of 60 s.
SAMPLE_RATE = 16_000
SAMPLE_BYTES = 2
MAX_CHUNK_SECONDS = 30.0

# The shortest audio that whisper-cli transcribes at all (whisper.cpp, `whisper_full_with_state`).
MIN_CHUNK_SECONDS = 0.1

# Languages that Whisper models know, and their English names (whisper.cpp `g_lang`, from
# openai/whisper `tokenizer.py`).
LANGUAGE_NAMES = dict(
    entry.split(" ", 1)
    for entry in (
        "af afrikaans, am amharic, ar arabic, as assamese, az azerbaijani, ba bashkir, "
        "be belarusian, bg bulgarian, bn bengali, bo tibetan, br breton, bs bosnian, "
        "ca catalan, cs czech, cy welsh, da danish, de german, el greek, en english, "
        "es spanish, et estonian, eu basque, fa persian, fi finnish, fo faroese, fr french, "
        "gl galician, gu gujarati, ha hausa, haw hawaiian, he hebrew, hi hindi, hr croatian, "
        "ht haitian creole, hu hungarian, hy armenian, id indonesian, is icelandic, "
        "it italian, ja japanese, jw javanese, ka georgian, kk kazakh, km khmer, kn kannada, "
        "ko korean, la latin, lb luxembourgish, ln lingala, lo lao, lt lithuanian, "
        "lv latvian, mg malagasy, mi maori, mk macedonian, ml malayalam, mn mongolian, "
        "mr marathi, ms malay, mt maltese, my myanmar, ne nepali, nl dutch, nn nynorsk, "
        "no norwegian, oc occitan, pa punjabi, pl polish, ps pashto, pt portuguese, "
        "ro romanian, ru russian, sa sanskrit, sd sindhi, si sinhala, sk slovak, "
        "sl slovenian, sn shona, so somali, sq albanian, sr serbian, su sundanese, "
        "sv swedish, sw swahili, ta tamil, te telugu, tg tajik, th thai, tk turkmen, "
        "tl tagalog, tr turkish, tt tatar, uk ukrainian, ur urdu, uz uzbek, vi vietnamese, "
        "yi yiddish, yo yoruba, yue cantonese, zh chinese"
    ).split(", ")
)
# whisper-cli ends with exit code 0 on any other, so they are checked before it is run.
LANGUAGES = frozenset(LANGUAGE_NAMES)
