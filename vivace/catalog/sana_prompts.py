"""What surrounds an instruction when the SANA-Streaming models read it."""

from vivace.models.gemma_prompts import GemmaPromptSpec

# The models were trained with exactly these words in front, so they belong to the weights.
# Source: official configurations sana_streaming_2b_720p and sana_streaming_bidirectional_2b_720p.
_INSTRUCTION = (
    'Given a user prompt, generate an "Enhanced prompt" that provides detailed visual descriptions suitable '
    "for image generation. Evaluate the level of detail in the user prompt:",
    "- If the prompt is simple, focus on adding specifics about colors, shapes, sizes, textures, and spatial "
    "relationships to create vivid and concrete scenes.",
    "- If the prompt is already detailed, refine and enhance the existing details slightly without "
    "overcomplicating.",
    "Please generate only the enhanced description for the prompt below and avoid including any additional "
    "commentary or evaluations:",
    "User Prompt: ",
)


def sana_streaming_prompts() -> GemmaPromptSpec:
    """300 tokens after five lines of instruction.

    Source: official inference, mode long_streaming (motion score 0, which adds nothing).
    """
    return GemmaPromptSpec(instruction=_INSTRUCTION, num_tokens=300)


def sana_streaming_bidirectional_prompts() -> GemmaPromptSpec:
    """As for the streaming model, with the motion score behind the words.

    Source: official inference, mode bidirectional_short (motion score 10).
    """
    return GemmaPromptSpec(instruction=_INSTRUCTION, suffix=" motion score: 10.", num_tokens=300)
