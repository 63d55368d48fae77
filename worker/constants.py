"""Numbers of the pipeline, each with its source."""

# Whisper was trained on 16 kHz mono audio in windows of 30 s, to which every input is padded
# (Radford et al. 2022, section 2.2): a chunk of 31 s costs as much as one of 60 s.
SAMPLE_RATE = 16_000
SAMPLE_BYTES = 2
MAX_CHUNK_SECONDS = 30.0

# The shortest audio that whisper-cli transcribes at all (whisper.cpp, `whisper_full_with_state`).
MIN_CHUNK_SECONDS = 0.1

# Languages that Whisper models know (whisper.cpp `g_lang`, from openai/whisper `tokenizer.py`).
# whisper-cli ends with exit code 0 on any other, so they are checked before it is run.
LANGUAGES = frozenset(
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he "
    "hi hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne "
    "nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk "
    "ur uz vi yi yo yue zh".split()
)
