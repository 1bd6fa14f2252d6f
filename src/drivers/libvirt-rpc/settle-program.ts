// What two switchoverd have to say to one another beside libvirt's own procedures: the question by which a source that
// has handed its guest over settles with the destination.

import { nonnullString, uuid } from "./libvirt-types.js";
import { ownProgram, program, urgent } from "./program.js";
import { int, string } from "./xdr.js";
import { struct } from "./xdr-compound.js";

const migration = struct({ migrationId: string(64), uuid, name: nonnullString });
const decision = struct({ decision: int });

export const decisions = { taken: 1, refused: 2 } as const;

export const settling = program(ownProgram, {
  procedures: {
    /** Whether the destination has taken the guest. One that had not decided refuses it for good. */
    settle: urgent(1, migration, decision),
    /** The source's QEMU is dead for certain: a destination that holds the guest whole takes it. */
    yield: urgent(2, migration, decision),
  },
  messages: {},
});
