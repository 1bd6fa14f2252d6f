// What a switchoverd is asked beside libvirt's own procedures: by sources that settle, by orchestrators, by operators.

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
import { wordsOf } from "../migrations/request.js";
import { libvirtError } from "./errors.js";

export function ownService(host: Host, migrations: Migrations): Service {
  const { domains } = host;
  const moves = new Moves(host, migrations);
  return serve(own, {
    settle: async (item) => ({
      decision: decisions[await migrations.settling.settle(named(item), "settle")],
    }),
    facts: async ({ binary, paths }) => {
      checkAskedBinary(host.config, binary);
      return { facts: JSON.stringify(await hostFacts(host, binary, paths)) };
    },
    announcePostcopy: async (question) => {
      await migrations.settling.announcePostcopy(named(question));
    },
    handOver: async (item) => ({
      decision: decisions[await migrations.settling.settle(named(item), "handOver")],
    }),
    reconnect: async (question) => reconnected(await migrations.settling.reconnect(named(question))),
    move: async ({ migrationId, uuid, destinationUri, params, flags }) => {
      named({ migrationId });
      const words = wordsOf(params, new Uint8Array(), flags);
      const { end, why } = await moves.move({ migrationId, uuid, destinationUri, words });
      return { end: moveEnds[end], why };
    },
    concede: async (item) => ({
      decision: decisions[await migrations.settling.settle(named(item), "concede")],
    }),
    concedeAway: async ({ migrationId, uuid, hostname, uri }) => {
      named({ migrationId });
      const entry = domains.all.find((domain) => domain.uuid === uuid);
      if (entry === undefined && domains.hasGiven(uuid, migrationId)) return;
      if (entry === undefined)
        throw libvirtError(
          "OPERATION_INVALID",
          `${host.config.hostname} has no definition of the guest, and does not know where it is`,
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
    settleAs: async (item) => ({
      decision: decisions[await migrations.settling.settle(named(item), "settle")],
    }),
    concedeAs: async (item) => ({
      decision: decisions[await migrations.settling.settle(named(item), "concede")],
    }),
    handOverAs: async (item) => ({
      decision: decisions[await migrations.settling.settle(named(item), "handOver")],
    }),
    announceAs: async (question) => {
      await migrations.settling.announcePostcopy(named(question));
    },
    reconnectAs: async (question) => reconnected(await migrations.settling.reconnect(named(question))),
  });
}

/** What of a domain libvirt's own procedures cannot tell. */
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

/** @throws LibvirtError when its id is not one. */
function named<It extends { readonly migrationId: string }>(question: It): It {
  if (isMigrationId(question.migrationId)) return question;
  throw libvirtError("INVALID_ARG", `${quoted(question.migrationId)} is not the id of a migration`);
}
