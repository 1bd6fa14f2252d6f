// Types of a migration between two hosts, whichever side coordinates it.

import type { Asked } from "../../drivers/libvirt/client/negotiation.js";
import type { Redial } from "../../drivers/libvirt/client/reconnecting-client.js";
import type { Domain } from "../../drivers/libvirt/rpc/libvirt-types.js";
import type { Clock } from "../../effects/ports.js";
import type { Abort } from "../../protocol/messages.js";
import type { MigrationError } from "../../protocol/migration-error.js";
import type { OutcomeKind, RunningSide } from "../../protocol/outcomes.js";

export interface RemoteMove {
  readonly source: Redial;
  readonly destination: Redial;
  readonly dom: Domain;
  readonly asked: Asked;
  readonly clock: Clock;
  readonly migrationId: string;
}

export interface RemoteOutcome {
  readonly kind: OutcomeKind;
  readonly runs: RunningSide;
  /** Null if and only if the guest arrived. */
  readonly error: MigrationError | null;
}

export interface Led {
  /** Never rejects. */
  readonly outcome: Promise<RemoteOutcome>;
  /** Aborts the migration. Accepted until the guest has been handed over, refused with a reason afterwards. */
  abort(): Promise<Abort>;
}
