"""The commands of migrate_old_worker.py, served by Lair's SDK: the functions are what is left."""

import lair_worker as lair


@lair.command
def create_program(id, signature):
    lair.context().session.shared[f"program/{id}"] = signature  # in the host: any worker finds it there
    return {"program_id": id, "status": "created"}


@lair.command
def execute_program(program_id, inputs):
    if f"program/{program_id}" not in lair.context().session.shared:
        raise LookupError("Program not found: " + program_id)
    return {"program_id": program_id, "outputs": {"answer": inputs["question"].upper()}}


@lair.command
def count_words(text: str):
    return {"words": len(text.split())}
