// QEMU's migration settings around one migration: read, set as negotiated, and restored afterwards.

import { join } from "node:path";
import type { Clock } from "../../../effects/ports.js";
import { sleep } from "../../../effects/sleep.js";
import type { Limits } from "../../../protocol/convergence/limits.js";
import { type Answer, failed, messageOf, nothing, unknown } from "../../../protocol/effect-result.js";
import type { Prepared, Settings } from "../../../protocol/messages.js";
import type { Dropped, TlsOptions } from "../../../protocol/stream.js";
import { type CommandArguments, type Monitor, migrationParameterNames } from "../monitor/commands.js";
import { Schema } from "../monitor/qapi-schema.js";
import { type Knowledge, negotiate } from "./negotiate.js";
import { type Parameters, rows, type Side, type SideOptions, tlsId } from "./option-table.js";
import {
  addTlsCredentials,
  checkTlsCredentials,
  credentialsOf,
  removeTlsCredentials,
  type TlsCredentials,
} from "./tls.js";

type Capabilities = CommandArguments<"migrate-set-capabilities">["capabilities"];

/** Faster than any real link, and small enough for QEMU's arithmetic. */
const unlimitedBytesPerSecond = 2 ** 50;

const limitParameters = ({ bandwidthMiBps, maxDowntimeMs }: Limits): Parameters => ({
  "max-bandwidth": bandwidthMiBps === 0 ? unlimitedBytesPerSecond : Math.round(bandwidthMiBps * 2 ** 20),
  "downtime-limit": Math.round(maxDowntimeMs),
});

export const setLimits = (monitor: Monitor, limits: Limits) =>
  monitor.execute("migrate-set-parameters", limitParameters(limits));

const setCapabilities = (monitor: Monitor, capabilities: Capabilities) =>
  monitor.execute("migrate-set-capabilities", { capabilities });

/** QEMU 7.2 accepts these and leaves them at 1: the stream is slower or larger, but correct. */
const mayBeIgnored: readonly string[] = ["multifd-zlib-level", "multifd-zstd-level"];

const ours = new Set(rows.flatMap((capability) => capability.capability ?? []));

export interface StreamSettingsOptions {
  readonly clock: Clock;
  /** Holds the files of this migration that QEMU reads; a source needs none. */
  readonly directory?: string | null;
  readonly onDropped?: ((dropped: readonly Dropped[]) => void) | undefined;
}

export class StreamSettings {
  readonly #side: Side;
  readonly #wish: SideOptions;
  readonly #clock: Clock;
  readonly #directory: string | null;
  readonly #onDropped: (dropped: readonly Dropped[]) => void;
  #knowledge: Knowledge | undefined;

  constructor(
    side: Side,
    wish: SideOptions,
    { clock, directory = null, onDropped = () => {} }: StreamSettingsOptions,
  ) {
    this.#clock = clock;
    this.#side = side;
    this.#wish = wish;
    this.#directory = directory;
    this.#onDropped = onDropped;
  }

  /** Called before QEMU exists. Returns why the options cannot be provided on this host, if so. */
  async refusalOfHost(): Promise<string | undefined> {
    if (this.#wish.tls === undefined) return undefined;
    return checkTlsCredentials(this.#tls(this.#wish.tls)).then(
      () => undefined,
      (error: unknown) => `TLS is not available at the ${this.#side}: ${messageOf(error)}`,
    );
  }

  /** Returns the settings that a migration changes, and every migration capability that this QEMU supports. */
  async read(monitor: Monitor): Promise<{ known: readonly string[]; settings: Settings }> {
    const [capabilities, parameters, words] = await Promise.all([
      monitor.execute("query-migrate-capabilities", {}),
      monitor.execute("query-migrate-parameters", {}),
      this.#words(monitor),
    ]);
    const known = capabilities.map((capability) => capability.capability);
    this.#knowledge = { capabilities: known, parameters: Object.keys(parameters), words };
    return {
      known,
      settings: {
        capabilities: Object.fromEntries(
          capabilities
            .filter((capability) => ours.has(capability.capability))
            .map((capability) => [capability.capability, capability.state]),
        ),
        parameters: Object.fromEntries(
          migrationParameterNames.flatMap((name) => {
            const value = parameters[name];
            return value === undefined ? [] : [[name, value]];
          }),
        ),
      },
    };
  }

  /** Returns why the options cannot be provided, as far as this side knows before it has the other's capabilities. */
  async refusal(monitor: Monitor): Promise<string | undefined> {
    const ofHost = await this.refusalOfHost();
    if (ofHost !== undefined) return ofHost;
    const negotiated = negotiate(this.#wish, this.#side, await this.#own(monitor), null);
    return "refused" in negotiated ? negotiated.refused : undefined;
  }

  /** Sets the requested options that this QEMU and the other one, with those `capabilities`, support. */
  async set(
    monitor: Monitor,
    { capabilities, host }: Pick<Prepared, "capabilities" | "host">,
    limits?: Limits,
  ): Promise<Answer<null>> {
    const wish = { ...this.#wish, host };
    const negotiated = negotiate(wish, this.#side, await this.#own(monitor), capabilities);
    if ("refused" in negotiated) return failed(negotiated.refused);
    const { tls } = this.#wish;
    if (tls !== undefined)
      await addTlsCredentials(
        monitor,
        tlsId,
        this.#tls(tls),
        this.#directory && join(this.#directory, "tls"),
      );
    await setCapabilities(monitor, negotiated.capabilities);
    const parameters = { ...negotiated.parameters, ...(limits && limitParameters(limits)) };
    await monitor.execute("migrate-set-parameters", parameters);
    const ignored = await this.#ignored(monitor, negotiated.wished);
    const grave = ignored.find(({ option }) => !mayBeIgnored.includes(option));
    if (grave !== undefined) return failed(`${grave.option} cannot be set: ${grave.why}`);
    const dropped = [...negotiated.dropped, ...ignored];
    if (dropped.length > 0) this.#onDropped(dropped);
    return nothing;
  }

  async #ignored(monitor: Monitor, wished: Parameters): Promise<Dropped[]> {
    const set = Object.entries(wished).filter(([, value]) => value !== undefined);
    if (set.length === 0) return [];
    const now = Object.entries(await monitor.execute("query-migrate-parameters", {}));
    return set.flatMap(([option, wanted]) => {
      const [, is] = now.find(([name]) => name === option) ?? [];
      return is === wanted
        ? []
        : { option, why: `the ${this.#side}'s QEMU accepts ${wanted} and keeps ${is}` };
    });
  }

  /** Returns `unknown` when QEMU does not finish its migration. */
  async putBack(monitor: Monitor, { capabilities, parameters }: Settings): Promise<Answer<null>> {
    if (!(await hasCleanedUp(monitor, this.#clock)))
      return unknown("QEMU has ended its migration but still holds its connections");
    // Capabilities first: a parameter may be rejected under another capability.
    const states = Object.entries(capabilities).map(([capability, state]) => ({ capability, state }));
    await setCapabilities(monitor, states);
    await monitor.execute("migrate-set-parameters", parameters);
    if (this.#wish.tls !== undefined) await removeTlsCredentials(monitor, tlsId);
    return nothing;
  }

  #tls(wish: TlsOptions): TlsCredentials {
    return credentialsOf(wish, this.#side === "source" ? "client" : "server");
  }

  async #own(monitor: Monitor): Promise<Knowledge> {
    if (this.#knowledge === undefined) await this.read(monitor);
    if (this.#knowledge === undefined) throw new Error("the settings were not read before they were set");
    return this.#knowledge;
  }

  /** The schema is large, and only one enumeration is looked up in it. */
  async #words(monitor: Monitor): Promise<Knowledge["words"]> {
    const wordy = this.#wish.compression?.zlib ?? this.#wish.compression?.zstd;
    if (wordy === undefined) return () => undefined;
    const schema = await Schema.read(monitor);
    return (parameter) => schema.words("migrate-set-parameters", parameter);
  }
}

const cleanUpLimitMs = 3_000;
const askAgainMs = 5;

/**
 * QEMU reports a failed migration before its threads have ended, and these threads check the capabilities again: when
 * multifd is turned off meanwhile they are not joined, and QEMU 7.2 crashes some milliseconds later. The yank
 * instance disappears only after that.
 */
async function hasCleanedUp(monitor: Monitor, clock: Clock): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < cleanUpLimitMs; waitedMs += askAgainMs) {
    const yankable = await monitor.execute("query-yank", {});
    if (!yankable.some((instance) => instance.type === "migration")) return true;
    await sleep(clock, askAgainMs);
  }
  return false;
}

/** Amount of memory that the destination must have too, hot-plugged memory included. */
export async function memoryBytes(monitor: Monitor): Promise<number> {
  const size = await monitor.execute("query-memory-size-summary", {});
  return size["base-memory"] + (size["plugged-memory"] ?? 0);
}
