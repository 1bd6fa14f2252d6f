// The QMP commands and events in use, in one table, checked at run time and, by a test, against the schema of the
// real QEMU. Source: QEMU's qapi/migration.json, run-state.json, yank.json, machine.json, machine-target.json,
// qom.json.

import * as z from "zod/mini";
import { hostName, socketPath, streamAddress } from "../../../protocol/address-schemas.js";
import { memoryRows, type OptionParameters } from "../../../protocol/options/table.js";
import type { Json } from "./codec.js";
import { QmpProtocolError } from "./errors.js";
import type { QmpSession, RawEvent } from "./session.js";

const nothing = z.looseObject({});
const noArguments = z.strictObject({});

const capability = z.looseObject({ capability: z.string(), state: z.boolean() });
const socketAddress = z.looseObject({
  type: z.string(),
  host: z.optional(z.string()),
  port: z.optional(z.string()),
  path: z.optional(z.string()),
});

const yankInstance = z.looseObject({ type: z.string(), "node-name": z.optional(z.string()) });
const inet = { host: hostName, port: z.string() };
/** The NBD server takes its address in QEMU's older form. */
const serverAddress = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("unix"), data: z.strictObject({ path: socketPath }) }),
  z.strictObject({ type: z.literal("inet"), data: z.strictObject(inet) }),
]);
const nbdAddress = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("unix"), path: socketPath }),
  z.strictObject({ type: z.literal("inet"), ...inet }),
]);
const blockJob = z.looseObject({ device: z.string() });
/** No QEMU has all of these: each one is queried for its own first. */
const migrationParameters = {
  "max-bandwidth": z.optional(z.number()),
  "downtime-limit": z.optional(z.number()),
  "multifd-compression": z.optional(z.string()),
  "tls-creds": z.optional(z.string()),
  ...parametersOfOptions(),
};
export const migrationParameterNames = Object.keys(
  migrationParameters,
) as (keyof typeof migrationParameters)[];

type ParametersOfOptions = {
  readonly [Name in keyof OptionParameters]: z.ZodMiniOptional<
    OptionParameters[Name] extends number ? z.ZodMiniNumber<number> : z.ZodMiniString<string>
  >;
};

/** The parameters that migration options set. */
function parametersOfOptions(): ParametersOfOptions {
  const schemas = memoryRows.flatMap(({ type, qemu = {} }) => {
    if (qemu.parameter === undefined) return [];
    return [[qemu.parameter, z.optional(type.kind === "number" ? z.number() : z.string())]];
  });
  // The type and the value are derived from the same rows.
  return Object.fromEntries(schemas) as ParametersOfOptions;
}

export const commands = {
  "query-status": {
    arguments: noArguments,
    returns: z.looseObject({ status: z.string(), running: z.boolean() }),
  },
  "query-uuid": { arguments: noArguments, returns: z.looseObject({ UUID: z.string() }) },
  "query-version": {
    arguments: noArguments,
    returns: z.looseObject({
      qemu: z.looseObject({ major: z.number(), minor: z.number(), micro: z.number() }),
    }),
  },
  "query-kvm": {
    arguments: noArguments,
    returns: z.looseObject({ enabled: z.boolean(), present: z.boolean() }),
  },
  "query-machines": {
    arguments: noArguments,
    returns: z.array(
      z.looseObject({ name: z.string(), alias: z.optional(z.string()), "cpu-max": z.number() }),
    ),
  },
  "query-cpu-definitions": {
    arguments: noArguments,
    returns: z.array(
      z.looseObject({ name: z.string(), "unavailable-features": z.optional(z.array(z.string())) }),
    ),
  },
  "qom-list-types": {
    arguments: z.strictObject({ implements: z.string(), abstract: z.boolean() }),
    returns: z.array(z.looseObject({ name: z.string() })),
  },
  "query-memory-size-summary": {
    arguments: noArguments,
    returns: z.looseObject({ "base-memory": z.number(), "plugged-memory": z.optional(z.number()) }),
  },
  "query-migrate-capabilities": { arguments: noArguments, returns: z.array(capability) },
  "migrate-set-capabilities": {
    arguments: z.strictObject({
      capabilities: z.array(z.strictObject({ capability: z.string(), state: z.boolean() })),
    }),
    returns: nothing,
  },
  "query-migrate-parameters": { arguments: noArguments, returns: z.looseObject(migrationParameters) },
  "migrate-set-parameters": { arguments: z.strictObject(migrationParameters), returns: nothing },
  "query-migrate": {
    arguments: noArguments,
    returns: z.looseObject({
      status: z.optional(z.string()),
      ram: z.optional(
        z.looseObject({
          transferred: z.number(),
          remaining: z.number(),
          total: z.number(),
          mbps: z.number(),
          "dirty-pages-rate": z.number(),
          "dirty-sync-count": z.number(),
          "page-size": z.number(),
          "postcopy-bytes": z.optional(z.number()),
        }),
      ),
      "total-time": z.optional(z.number()),
      "expected-downtime": z.optional(z.number()),
      "cpu-throttle-percentage": z.optional(z.number()),
      downtime: z.optional(z.number()),
      "setup-time": z.optional(z.number()),
      "error-desc": z.optional(z.string()),
      "blocked-reasons": z.optional(z.array(z.string())),
      "socket-address": z.optional(z.array(socketAddress)),
    }),
  },
  migrate: {
    arguments: z.strictObject({ uri: streamAddress, resume: z.optional(z.boolean()) }),
    returns: nothing,
  },
  "migrate-start-postcopy": { arguments: noArguments, returns: nothing },
  "migrate-pause": { arguments: noArguments, returns: nothing },
  "migrate-recover": { arguments: z.strictObject({ uri: streamAddress }), returns: nothing },
  "migrate-incoming": {
    arguments: z.strictObject({ uri: streamAddress, "exit-on-error": z.optional(z.boolean()) }),
    returns: nothing,
  },
  "calc-dirty-rate": {
    arguments: z.strictObject({
      "calc-time": z.number(),
      "sample-pages": z.number(),
      mode: z.literal("page-sampling"),
    }),
    returns: nothing,
  },
  "query-dirty-rate": {
    arguments: noArguments,
    returns: z.looseObject({
      status: z.enum(["unstarted", "measuring", "measured"]),
      "dirty-rate": z.optional(z.number()),
      "start-time": z.number(),
      "calc-time": z.number(),
      mode: z.string(),
    }),
  },
  migrate_cancel: { arguments: noArguments, returns: nothing },
  "migrate-continue": {
    arguments: z.strictObject({ state: z.enum(["pre-switchover", "cancelling"]) }),
    returns: nothing,
  },
  "query-yank": { arguments: noArguments, returns: z.array(yankInstance) },
  yank: { arguments: z.strictObject({ instances: z.array(yankInstance) }), returns: nothing },
  "query-block": {
    arguments: noArguments,
    returns: z.array(
      z.looseObject({
        device: z.string(),
        qdev: z.optional(z.string()),
        inserted: z.optional(
          z.looseObject({
            ro: z.boolean(),
            "node-name": z.optional(z.string()),
            image: z.looseObject({
              "virtual-size": z.number(),
              "full-backing-filename": z.optional(z.string()),
              "backing-filename-format": z.optional(z.string()),
            }),
          }),
        ),
      }),
    ),
  },
  "query-named-block-nodes": {
    arguments: z.strictObject({ flat: z.boolean() }),
    returns: z.array(z.looseObject({ "node-name": z.optional(z.string()) })),
  },
  "nbd-server-start": {
    arguments: z.strictObject({ addr: serverAddress, "tls-creds": z.optional(z.string()) }),
    returns: nothing,
  },
  "nbd-server-stop": { arguments: noArguments, returns: nothing },
  "query-block-exports": { arguments: noArguments, returns: z.array(z.looseObject({ id: z.string() })) },
  "block-export-add": {
    arguments: z.strictObject({
      type: z.literal("nbd"),
      id: z.string(),
      "node-name": z.string(),
      name: z.string(),
      writable: z.boolean(),
    }),
    returns: nothing,
  },
  "blockdev-add": {
    arguments: z.strictObject({
      driver: z.literal("nbd"),
      "node-name": z.string(),
      server: nbdAddress,
      export: z.string(),
      discard: z.literal("unmap"),
      "tls-creds": z.optional(z.string()),
      "tls-hostname": z.optional(hostName),
    }),
    returns: nothing,
  },
  "blockdev-del": { arguments: z.strictObject({ "node-name": z.string() }), returns: nothing },
  "blockdev-mirror": {
    arguments: z.strictObject({
      "job-id": z.string(),
      device: z.string(),
      target: z.string(),
      sync: z.enum(["full", "top"]),
      "copy-mode": z.enum(["background", "write-blocking"]),
      speed: z.number(),
    }),
    returns: nothing,
  },
  "block-job-cancel": {
    arguments: z.strictObject({ device: z.string(), force: z.boolean() }),
    returns: nothing,
  },
  "block-job-set-speed": {
    arguments: z.strictObject({ device: z.string(), speed: z.number() }),
    returns: nothing,
  },
  "query-block-jobs": {
    arguments: noArguments,
    returns: z.array(
      z.looseObject({ device: z.string(), len: z.number(), offset: z.number(), ready: z.boolean() }),
    ),
  },
  "query-qmp-schema": {
    arguments: noArguments,
    returns: z.array(
      z.looseObject({
        name: z.string(),
        "arg-type": z.optional(z.string()),
        members: z.optional(z.array(nothing)),
        values: z.optional(z.array(z.string())),
      }),
    ),
  },
  "object-add": {
    arguments: z.strictObject({
      "qom-type": z.literal("tls-creds-x509"),
      id: z.string(),
      dir: z.string(),
      endpoint: z.enum(["server", "client"]),
      "verify-peer": z.boolean(),
      priority: z.optional(z.string()),
    }),
    returns: nothing,
  },
  "object-del": { arguments: z.strictObject({ id: z.string() }), returns: nothing },
  "announce-self": {
    arguments: z.strictObject({
      initial: z.number(),
      max: z.number(),
      rounds: z.number(),
      step: z.number(),
    }),
    returns: nothing,
  },
  client_migrate_info: {
    arguments: z.strictObject({
      protocol: z.literal("spice"),
      hostname: z.string(),
      port: z.optional(z.number()),
      "tls-port": z.optional(z.number()),
      "cert-subject": z.optional(z.string()),
    }),
    returns: nothing,
  },
  "rtc-reset-reinjection": { arguments: noArguments, returns: nothing },
  stop: { arguments: noArguments, returns: nothing },
  cont: { arguments: noArguments, returns: nothing },
  quit: { arguments: noArguments, returns: nothing },
  system_powerdown: { arguments: noArguments, returns: nothing },
  system_reset: { arguments: noArguments, returns: nothing },
  "query-balloon": { arguments: noArguments, returns: z.looseObject({ actual: z.number() }) },
  "query-cpus-fast": {
    arguments: noArguments,
    returns: z.array(z.looseObject({ "cpu-index": z.number(), "thread-id": z.number() })),
  },
} as const;

/** The events that are handled; all others appear only in the monitor traffic. */
export const events = {
  STOP: nothing,
  RESUME: nothing,
  SHUTDOWN: z.looseObject({ guest: z.boolean() }),
  BLOCK_IO_ERROR: z.looseObject({ action: z.enum(["ignore", "report", "stop"]) }),
  BLOCK_JOB_READY: blockJob,
  BLOCK_JOB_CANCELLED: blockJob,
  BLOCK_JOB_COMPLETED: z.looseObject({ device: z.string(), error: z.optional(z.string()) }),
  MIGRATION: z.looseObject({ status: z.string() }),
  SPICE_MIGRATE_COMPLETED: nothing,
  MIGRATION_PASS: z.looseObject({ pass: z.number() }),
} as const;

export type CommandName = keyof typeof commands;
export type CommandArguments<N extends CommandName> = z.infer<(typeof commands)[N]["arguments"]>;
export type CommandReturn<N extends CommandName> = z.infer<(typeof commands)[N]["returns"]>;
export type MonitorEvent = {
  [N in keyof typeof events]: {
    readonly name: N;
    readonly atMicros: number;
    readonly data: z.infer<(typeof events)[N]>;
  };
}[keyof typeof events];

/** The same table, in a form that lets TypeScript map a name to its reply. */
const answers: { readonly [N in CommandName]: { readonly returns: z.ZodMiniType<CommandReturn<N>> } } =
  commands;

const defaultLimitMs = 5_000;

/** A session with the types of the table above. */
export class Monitor {
  readonly session: QmpSession;
  constructor(session: QmpSession) {
    this.session = session;
  }

  /** @throws the session's errors, and QmpProtocolError when the reply does not match QEMU's documentation. */
  async execute<N extends CommandName>(
    name: N,
    args: CommandArguments<N>,
    options: { limitMs?: number; oob?: boolean } = {},
  ): Promise<CommandReturn<N>> {
    const limitMs = options.limitMs ?? defaultLimitMs;
    const value = await this.session.execute(name, args as { [key: string]: Json }, {
      limitMs,
      oob: options.oob ?? false,
    });
    return this.#check(name, answers[name].returns, value);
  }

  /** An event that does not match the documentation is QEMU's fault, not the listener's: it ends the session. */
  onEvent(listener: (event: MonitorEvent) => void): () => void {
    return this.session.onEvent((raw) => {
      if (!isKnown(raw)) return;
      let event: MonitorEvent;
      try {
        const data = this.#check(raw.event, events[raw.event], raw.data);
        event = { name: raw.event, atMicros: raw.atMicros, data } as MonitorEvent;
      } catch (error) {
        this.session.fail(error);
        return;
      }
      listener(event);
    });
  }

  #check<T>(name: string, schema: z.ZodMiniType<T>, value: Json): T {
    const parsed = z.safeParse(schema, value);
    if (parsed.success) return parsed.data;
    const where = parsed.error.issues
      .map((issue) => `${issue.path.join(".") || "answer"}: ${issue.message}`)
      .join("; ");
    throw new QmpProtocolError(
      `QEMU's ${name} does not match its documentation: ${where}`,
      this.session.dialogue(),
    );
  }
}

const isKnown = (raw: RawEvent): raw is RawEvent & { event: keyof typeof events } =>
  Object.hasOwn(events, raw.event);
