"""Bounds on everything that comes from outside, each with its unit, in one place."""

from __future__ import annotations

# safetensors (facts/formats.md section 5, audit.md 4.1): the official reader allows 100 MB.
SAFETENSORS_HEADER_BYTES = 32 * 1024 * 1024
SAFETENSORS_TENSORS = 100_000
SAFETENSORS_NAME_CHARS = 512
SAFETENSORS_DIMENSIONS = 8
SAFETENSORS_METADATA_VALUE_CHARS = 16 * 1024 * 1024

ADAPTER_CONFIG_BYTES = 1024 * 1024

# GGUF: an adapter's pairs are few; the largest models list some thousand tensors. The header of an
# adapter is read up to this; between tensors at most so much is not looked at.
GGUF_PAIRS = 4096
GGUF_TENSORS = 65_536
GGUF_KEY_BYTES = 65_535
GGUF_HEADER_BYTES = 4 * 1024 * 1024
GGUF_ALIGNMENT_BYTES = 4096

AGE_HEADER_BYTES = 1024 * 1024
AGE_STANZAS = 1024
AGE_SCRYPT_MAX_LOG_N = 22
IDENTITY_FILE_BYTES = 1024 * 1024

CANONICAL_JSON_BYTES = 16 * 1024 * 1024
CANONICAL_JSON_DEPTH = 32
MAX_SAFE_INTEGER = 2**53 - 1

ENVELOPE_BYTES = 8 * 1024 * 1024
BUNDLE_BYTES = 64 * 1024 * 1024
NOTE_BYTES = 64 * 1024
PROOF_BYTES = 256 * 1024
PROOF_HASHES = 64
RECEIPT_BYTES = 64 * 1024
ENROLMENT_BYTES = 64 * 1024
MANIFEST_ENTRIES = 10_000
MANIFEST_PATH_CHARS = 1024

READ_BATCH_BYTES = 512 * 1024

# Statements, bundles, receipts (PROTOCOL section 3).
FIELD_TEXT_CHARS = 8192
STATEMENT_BYTES = 4 * 1024 * 1024
STATEMENT_SUBJECTS = MANIFEST_ENTRIES + 1
BUNDLE_VERDICTS = 256
BUNDLE_CONSISTENCY_PROOFS = 64
SEALED_PART_BYTES = 256 * 1024
SIGNATURE_FILE_BYTES = 4 * 1024 * 1024
RELEASE_WAIVERS = 1024
RELEASE_LABELS = 64
STATUS_ENTRIES = 100_000
MEMORY_BYTES = 64 * 1024 * 1024
KEY_PIN_BYTES = 8 * 1024 * 1024
CLOCK_SKEW_SECONDS = 300

# Channels: a journal line may carry one sealed receipt in base64; an answer line of signal-cli one
# received message with its text (long texts come as attachments, facts/signal.md 2.3).
CHANNEL_JOURNAL_LINE_BYTES = 128 * 1024
CHANNEL_INBOX_FILES = 10_000
PARTS_MANIFEST_BYTES = 1024 * 1024
PARTS = 999
SIGNAL_LINE_BYTES = 4 * 1024 * 1024

# signatures and the log
PAYLOAD_TYPE_CHARS = 128
ENVELOPE_SIGNATURES = 16
SIGNATURE_BYTES = 8 * 1024  # the largest standard one, ML-DSA-87, has 4,627
NOTE_SIGNATURES = 64
ORIGIN_CHARS = 255
KEYSET_BYTES = 1024 * 1024
KEYSET_KEYS = 1024
KEY_FILE_BYTES = 64 * 1024
SSHSIG_CHARS = 8 * 1024

# provenance: an age file around one 32-byte key; how many opened keys a process remembers
WRAPPED_KEY_BYTES = 4 * 1024
SUBJECT_KEYS_CACHED = 4096

# What an audit child may say (it has parsed a hostile payload: its words are outside input).
AUDIT_RESULT_BYTES = 8 * 1024 * 1024
AUDIT_FINDINGS = 200
AUDIT_METRICS = 200
AUDIT_TEXT_CHARS = 2_000
# Its numbers: modules, singular values of one and of all, features, characters of one name; the
# sketch in bytes. Together they stay below what a child may say.
AUDIT_DETAIL_MODULES = 8_192
AUDIT_DETAIL_VALUES = 256
AUDIT_DETAIL_VALUES_IN_ALL = 98_304
AUDIT_DETAIL_FEATURES = 256
AUDIT_DETAIL_NAME_CHARS = 600
AUDIT_DETAIL_NAMES_CHARS_IN_ALL = 768 * 1024
AUDIT_SKETCH_BYTES = 1024 * 1024
AUDIT_CODE_BYTES = 256
# What is lent to it: features of so many other adapters of its kind at most.
AUDIT_PEERS = 1_000
MARK_SEEDS = 10_000
AUDIT_CONTEXT_BYTES = 16 * 1024 * 1024
AUDIT_DEVICE_BYTES = 2 * 1024**3  # of an accelerator, unless the settings say otherwise
POLICY_BYTES = 256 * 1024

# Training logs that are redacted: whole in memory, one record a logged step.
TRAINING_LOG_BYTES = 32 * 1024 * 1024
TRAINING_LOG_RECORDS = 2_000_000

# Commas, brackets and braces in a header: each can cost ~64 bytes of memory once parsed.
SAFETENSORS_SEPARATORS = 2_000_000

# intake: files of one artifact held open at once; all headers that its notes carry, with the rest
INTAKE_FILES = 256
INTAKE_NOTES_BYTES = 96 * 1024 * 1024

# adapter_config.json: names in one list, characters of one text
ADAPTER_CONFIG_ITEMS = 10_000
ADAPTER_CONFIG_TEXT_CHARS = 16 * 1024

# conversion of pickles: bytes of one file and of its data.pkl; what the data interpreter may do
CONVERSION_INPUT_BYTES = 4 * 1024**3
CONVERSION_PICKLE_BYTES = 64 * 1024 * 1024
CONVERSION_OPCODES = 6_000_000
CONVERSION_STACK = 1_000_000
CONVERSION_TEXT_BYTES = 64 * 1024
CONVERSION_INTEGER_BYTES = 16
CONVERSION_ARCHIVE_ENTRIES = SAFETENSORS_TENSORS + 16
# Gathering a strided tensor: bytes of one tensor, and copies of one run of elements in all.
CONVERSION_GATHER_BYTES = 512 * 1024 * 1024
CONVERSION_GATHER_RUNS = 10_000_000
CONVERSION_REPORT_BYTES = 1024 * 1024
CONVERSION_TEXT_CHARS = 500

# Characters of a header's metadata that are searched for what they tell: about 1 s of work a million.
LEAK_HEADER_CHARS = 4 * 1024 * 1024
LEAK_HEADER_KEYS = 4096  # trainers write a hundred
