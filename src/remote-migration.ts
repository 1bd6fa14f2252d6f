// A migration between two hosts, coordinated from here by libvirt's procedures (managed): the coordinator's machine over
// two remote sides.

import { waitFor } from "xstate";
import type { MigrateFlag, MigrateParameters } from "./drivers/libvirt/flags.js";
import { remoteDestination, remoteSource, type Travelling } from "./drivers/libvirt/peers.js";
import type { Redial } from "./drivers/libvirt/redial.js";
import type { Domain } from "./drivers/libvirt-rpc/libvirt-types.js";
import { openCoordinator, type Surroundings } from "./effects/open.js";
import type { Ids } from "./effects/ports.js";
import type { CoordinatorOutput } from "./machines/coordinator.js";
import type { Deadlines } from "./protocol/deadlines.js";

export interface RemoteMigrationOptions {
  readonly source: Redial;
  readonly destination: Redial;
  readonly dom: Domain;
  readonly flags: ReadonlySet<MigrateFlag>;
  readonly parameters: MigrateParameters;
  readonly deadlines: Deadlines;
  readonly ids: Ids;
  readonly surroundings: Surroundings;
}

export interface RemoteMigration {
  readonly migrationId: string;
  readonly outcome: Promise<CoordinatorOutput>;
  abort(): void;
}

export function beginRemoteMigration(options: RemoteMigrationOptions): RemoteMigration {
  const { source, destination, dom, flags, parameters, deadlines, ids, surroundings } = options;
  const migrationId = ids.next();
  const identity = { migrationId, uuid: dom.uuid, name: parameters.name ?? dom.name };
  const steps = { flags, parameters, clock: surroundings.clock };
  const travelling: Travelling = { cookie: new Uint8Array(), xml: "", flags };
  const actor = openCoordinator(
    surroundings,
    { identity, deadlines },
    remoteSource(source, dom, steps, travelling),
    remoteDestination(destination, identity.name, steps, travelling),
  );
  actor.start();
  const outcome = waitFor(actor, (it) => it.status !== "active").then(({ output }) => {
    if (output === undefined) throw new Error("the coordinator ended without an outcome");
    return output;
  });
  return { migrationId, outcome, abort: () => actor.send({ type: "person.aborted" }) };
}
