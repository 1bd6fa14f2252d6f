// The procedures of a switchoverd beside libvirt's: for a source that settles with its destination, for operators and
// orchestrators, and for clients that check whether a guest can be migrated to it.

import { migrateParams, nonnullString, uuid } from "./libvirt-types.js";
import { ownProgram, procedure, program, urgent } from "./program.js";
import { int, nothing, string, uint } from "./xdr.js";
import { array, struct } from "./xdr-compound.js";

const migration = struct({ migrationId: string(64), uuid, name: nonnullString });
/** A query with the journal identity from Prepare's cookie and the secret of the two hosts. */
const question = struct({
  migrationId: string(64),
  uuid,
  name: nonnullString,
  journal: string(64),
  secret: string(128),
});
const decision = struct({ decision: int });

export const decisions = { taken: 1, refused: 2, undecidable: 3 } as const;

/** Outcomes of a move. */
export const moveEnds = { arrived: 1, stayed: 2, lost: 3, away: 4 } as const;

export const reconnections = { listens: 1, arrived: 2, lost: 3, whole: 4 } as const;

export const own = program(ownProgram, {
  procedures: {
    /** Asks who runs the guest. A destination that has not decided yet refuses the guest for good. */
    settle: urgent(1, "write", migration, decision),
    /** Reports that the source's QEMU is certainly dead: a destination that holds the whole guest takes it. */
    concede: urgent(2, "write", migration, decision),
    /** Announces post-copy: from then on the destination refuses the guest only when the source allows it. */
    announcePostcopy: urgent(6, "write", migration, nothing),
    /** In post-copy: the source can no longer run the guest and serves its memory; the destination takes the guest. */
    handOver: urgent(4, "write", migration, decision),
    /** In post-copy, after a lost connection: returns the address to reconnect to when the state is `reconnections.listens`. */
    reconnect: urgent(5, "write", migration, struct({ state: int, uri: nonnullString })),
    /** The same queries as above, for a source whose Begin cookie was answered with a journal identity. */
    settleAs: urgent(11, "write", question, decision),
    concedeAs: urgent(12, "write", question, decision),
    handOverAs: urgent(14, "write", question, decision),
    reconnectAs: urgent(15, "write", question, struct({ state: int, uri: nonnullString })),
    announceAs: urgent(16, "write", question, nothing),
    /** Records that a guest which left the calling host by this migration is not here and will not be started here. */
    concedeAway: procedure(
      17,
      "write",
      struct({ migrationId: string(64), uuid, hostname: nonnullString, uri: nonnullString }),
      nothing,
    ),
    /** Reports that the source of an offline migration gave the guest up: this host, which has its definition, may start it. */
    conceded: procedure(21, "write", struct({ migrationId: string(64), uuid, secret: string(128) }), nothing),
    /** Ends the quarantine of a domain, or its mark as away, on the operator's responsibility. */
    release: procedure(18, "write", struct({ uuid }), nothing),
    /** Adopts this host's copy as the guest when nothing else can decide, on the operator's responsibility. */
    adopt: procedure(20, "write", struct({ uuid }), nothing),
    /** Returns every domain that is quarantined or away, as JSON. */
    standing: procedure(19, "read", nothing, struct({ domains: nonnullString })),
    /**
     * Migrates the guest to another host under an orchestrator's migration id. A repeated call joins the migration, or returns
     * its outcome. An id whose fencing token is older than one already seen for the guest is refused.
     */
    move: procedure(
      7,
      "write",
      struct({
        migrationId: string(64),
        uuid,
        destinationUri: nonnullString,
        params: migrateParams,
        flags: uint,
      }),
      struct({ end: int, why: nonnullString }),
    ),
    /** Returns the host's facts (HostFacts) as JSON, for these paths and this QEMU. */
    facts: procedure(
      3,
      "write",
      struct({ binary: nonnullString, paths: array(nonnullString, 1_024) }),
      struct({ facts: nonnullString }),
    ),
  },
  messages: {},
});
