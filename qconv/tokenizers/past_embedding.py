"""Tokens for which the embedding has no row: the runtime cannot use them, so they are left out and told.

They come from tokens added to a tokenizer without resizing the model.
"""

from __future__ import annotations

from qconv.errors import TokenizerError, and_more
from qconv.tokenizers.context import Context
from qconv.tokenizers.special import NAMES

_SHOWN = 4
_RESIZE = (
    "in Python: model.resize_token_embeddings(len(tokenizer)) and save both; or take the base model's tokenizer files"
)


def tell(context: Context, rows: int) -> str | None:
    """What a user should know of tokens from id ``rows`` on, those of the embedding; None when there are none.

    TokenizerError: one of them is bos, eos, pad or the like, without which the model does not work.
    """
    files = context.files
    file = files.tokenizer_json
    tokens = context.cut_pieces | {index: text for text, index in files.added_tokens_json.items()}
    tokens |= {token.id: token.content for token in (file.added_tokens or ())} if file else {}
    tokens |= {index: token.content for index, token in (files.config_added_tokens or {}).items()}
    tokens = {index: tokens[index] for index in sorted(tokens) if index >= rows}
    if not tokens:
        return None
    for name, said in _roles(context):
        index = next((i for i, text in tokens.items() if said in (i, text)), None)
        if index is not None:
            message = f"{name} is '{tokens[index]}', token {index}, but the embedding has {rows} rows"
            raise TokenizerError(message, file=files.location, hint=_RESIZE)
    named = and_more([f"'{text}' ({index})" for index, text in tokens.items()], _SHOWN)
    return f"the embedding has {rows} rows, so these tokens are left out: {named}; {_RESIZE}"


def _roles(context: Context) -> list[tuple[str, object]]:
    """The texts and ids that files give special tokens, each with its setting's name."""
    files = context.files
    roles: list[tuple[str, object]] = []
    for given in (files.tokenizer_config, files.object("special_tokens_map.json")):
        entries = [(f"{name}_token", given.get(f"{name}_token")) for name in NAMES]
        roles += [(name, entry.get("content") if isinstance(entry, dict) else entry) for name, entry in entries]
    inner = files.model_config.get("text_config")
    for config in (files.model_config, inner if isinstance(inner, dict) else {}):
        roles += [(f"{name}_token_id", config.get(f"{name}_token_id")) for name in NAMES]
    return [(name, said) for name, said in roles if isinstance(said, str | int) and not isinstance(said, bool)]
