// Handles switchover's own RPC program: requests of sources that settle, of orchestrators, and of operators.

import { type Service, serve } from "../../drivers/libvirt/rpc/service.js";
import { decisions, moveEnds, own, reconnections } from "../../drivers/libvirt/rpc/switchover-program.js";
import type { Reconnection } from "../../protocol/messages.js";
import { isMigrationId } from "../../protocol/peer-text.js";
import { quoted } from "../../protocol/printable.js";
import { checkAskedBinary } from "../domains/emulators.js";
import { type ManagedDomain, quarantineOf } from "../domains/managed-domain.js";
import type { Standing } from "../domains/records.js";
import type { Host } from "../host.js";
import { hostFacts } from "../host-facts.js";
import { Moves } from "../migrations/named-migrations.js";
import type { Migrations } from "../migrations/registry.js";
import { requestOf } from "../migrations/request.js";
import { libvirtError } from "./errors.js";

export function ownService(host: Host, migrations: Migrations): Service {
  const { domains } = host;
  const moves = new Moves(host, migrations);
  return serve(own, {
    settle: async (question) => ({
      decision: decisions[await migrations.settling.settle(named(question), "settle")],
    }),
    facts: async ({ binary, paths }) => {
      checkAskedBinary(host.config, binary);
      return { facts: JSON.stringify(await hostFacts(host, binary, paths)) };
    },
    announcePostcopy: async (question) => {
      await migrations.settling.announcePostcopy(named(question));
    },
    handOver: async (question) => ({
      decision: decisions[await migrations.settling.settle(named(question), "handOver")],
    }),
    reconnect: async (question) => reconnected(await migrations.settling.reconnect(named(question))),
    move: async ({ migrationId, uuid, destinationUri, params, flags }) => {
      named({ migrationId });
      const request = requestOf(params, new Uint8Array(), flags);
      const { end, why } = await moves.move({ migrationId, uuid, destinationUri, request });
      return { end: moveEnds[end], why };
    },
    concede: async (question) => ({
      decision: decisions[await migrations.settling.settle(named(question), "concede")],
    }),
    concedeAway: async ({ migrationId, uuid, hostname, uri }) => {
      named({ migrationId });
      const entry = domains.all.find((domain) => domain.uuid === uuid);
      if (entry === undefined && domains.hasGiven(uuid, migrationId)) return;
      if (entry === undefined)
        throw libvirtError(
          "OPERATION_INVALID",
          `${host.config.hostname} has no definition of this guest and no record of where it is`,
        );
      await domains.concede(entry, { migrationId, hostname, uri, sinceMs: host.clock.now() });
    },
    release: async ({ uuid }) => {
      await migrations.release(domains.byUuid(uuid));
    },
    adopt: async ({ uuid }) => {
      await migrations.adopt(domains.byUuid(uuid));
    },
    conceded: async ({ migrationId, uuid, secret }) => {
      named({ migrationId });
      await domains.conceded(domains.byUuid(uuid), migrationId, secret);
    },
    standing: () => ({ domains: JSON.stringify(domains.all.flatMap(standingOf)) }),
    settleAs: async (question) => ({
      decision: decisions[await migrations.settling.settle(named(question), "settle")],
    }),
    concedeAs: async (question) => ({
      decision: decisions[await migrations.settling.settle(named(question), "concede")],
    }),
    handOverAs: async (question) => ({
      decision: decisions[await migrations.settling.settle(named(question), "handOver")],
    }),
    announceAs: async (question) => {
      await migrations.settling.announcePostcopy(named(question));
    },
    reconnectAs: async (question) => reconnected(await migrations.settling.reconnect(named(question))),
  });
}

/** Returns the facts about a domain that libvirt's own procedures cannot express. */
function standingOf(entry: ManagedDomain): readonly Standing[] {
  const { name, uuid } = entry;
  const quarantined = quarantineOf(entry);
  if (quarantined === null && entry.away === null) return [];
  if (entry.away === null) return [{ name, uuid, quarantined, away: null }];
  const { secret: _, ...away } = entry.away;
  return [{ name, uuid, quarantined, away }];
}

const reconnected = (where: Reconnection) =>
  typeof where === "string"
    ? { state: reconnections[where], uri: "" }
    : { state: reconnections.listens, uri: where.uri };

/** Returns the question unchanged. @throws LibvirtError when its migration id is malformed. */
function named<Question extends { readonly migrationId: string }>(question: Question): Question {
  if (isMigrationId(question.migrationId)) return question;
  throw libvirtError("INVALID_ARG", `${quoted(question.migrationId)} is not a valid migration id`);
}
