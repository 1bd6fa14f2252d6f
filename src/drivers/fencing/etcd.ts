// A fence in etcd: an offer is a key under a lease, its revision is the fencing token, and the first side to change the key
// decides. Upholds G1 when the sides cannot reach each other. Facts: etcd's v3 API over its JSON gateway (etcd 3.4 on).

import { type RequestOptions, request as requestPlain } from "node:http";
import { request as requestTls } from "node:https";
import * as z from "zod/mini";
import type { Clock, Fence } from "../../effects/ports.js";
import { type Answer, done, failed, messageOf, nothing, unknown } from "../../protocol/effect-result.js";
import type { Fenced, Identity } from "../../protocol/messages.js";
import { systemClock } from "../platform/clock.js";

export interface EtcdFenceOptions {
  /** `http://host:2379` or `https://…`; tried in this order until one answers. */
  readonly endpoints: readonly [string, ...string[]];
  /** Certificates and keys in PEM, for https. */
  readonly tls?: Pick<RequestOptions & { ca?: string; cert?: string; key?: string }, "ca" | "cert" | "key">;
  /** Prefix of the keys. Default: `switchover/guests/`. */
  readonly prefix?: string;
  /** Lifetime of an offer after its engine has died, in seconds. Default: 60. */
  readonly leaseSeconds?: number;
  readonly clock?: Clock;
}

const claimed = "claimed";
const number = z.union([z.string(), z.number()]);
const granted = z.object({ ID: number });
const pair = z.object({ value: z.optional(z.string()) });
const decided = z.object({
  header: z.object({ revision: number }),
  succeeded: z.optional(z.boolean()),
  responses: z.optional(
    z.array(z.object({ response_range: z.optional(z.object({ kvs: z.optional(z.array(pair)) })) })),
  ),
});

export function etcdFence(options: EtcdFenceOptions): Fence {
  const {
    endpoints,
    tls = {},
    prefix = "switchover/guests/",
    leaseSeconds = 60,
    clock = systemClock,
  } = options;
  /** Functions that stop keeping a lease alive, by key. */
  const kept = new Map<string, () => void>();

  const ask = async (path: string, body: object, signal?: AbortSignal): Promise<unknown> => {
    const reasons: string[] = [];
    for (const endpoint of endpoints) {
      try {
        return await post(new URL(path, endpoint), body, tls, signal);
      } catch (error) {
        reasons.push(`${endpoint}: ${messageOf(error)}`);
      }
    }
    throw new Error(`no etcd endpoint answered (${reasons.join("; ")})`);
  };
  const keyOf = ({ uuid, migrationId }: Identity) => base64(`${prefix}${uuid}/${migrationId}`);
  /** One etcd transaction: executes `then` if the key has not changed since the offer. */
  const unlessChanged = async ({ identity, token }: Fenced, then: object, signal: AbortSignal) => {
    const key = keyOf(identity);
    const compare = [{ key, target: "MOD", result: "EQUAL", mod_revision: token }];
    const failure = [{ request_range: { key } }];
    const answer = decided.parse(await ask("/v3/kv/txn", { compare, success: [then], failure }, signal));
    const [found] = answer.responses?.[0]?.response_range?.kvs ?? [];
    if (answer.succeeded === true) return "changed now";
    if (found === undefined) return "gone";
    return found.value === base64(claimed) ? "claimed" : "other";
  };
  const drop = async (identity: Identity, signal?: AbortSignal) => {
    stopKeeping(keyOf(identity));
    await ask("/v3/kv/deleterange", { key: keyOf(identity) }, signal);
  };
  const keep = (key: string, lease: string | number) => {
    let handle: unknown;
    const again = () => {
      // A lost lease only removes the offer: the destination then refuses, and the guest stays at the source.
      ask("/v3/lease/keepalive", { ID: lease }).catch(() => {});
      handle = clock.setTimeout(again, (leaseSeconds * 1000) / 3);
    };
    handle = clock.setTimeout(again, (leaseSeconds * 1000) / 3);
    kept.set(key, () => clock.clearTimeout(handle));
  };
  const stopKeeping = (key: string) => {
    kept.get(key)?.();
    kept.delete(key);
  };

  return {
    offer: (identity, signal) =>
      answering(async () => {
        const key = keyOf(identity);
        const { ID: lease } = granted.parse(await ask("/v3/lease/grant", { TTL: leaseSeconds }, signal));
        const put = { request_put: { key, value: base64("offered"), lease } };
        const { header } = decided.parse(await ask("/v3/kv/txn", { success: [put] }, signal));
        stopKeeping(key);
        keep(key, lease);
        return done(String(header.revision));
      }),
    claim: (what, signal) =>
      answering(async () => {
        // The claim has no lease: a running guest must not become available to another host because a lease expires.
        const put = { request_put: { key: keyOf(what.identity), value: base64(claimed) } };
        const found = await unlessChanged(what, put, signal);
        if (found === "changed now" || found === "claimed") return nothing;
        return failed("the fence no longer has an offer for the guest: the source withdrew it");
      }),
    disclaim: (what, signal) =>
      answering(async () => {
        await drop(what.identity, signal);
        return nothing;
      }),
    fence: (what, signal) =>
      answering(async () => {
        const remove = { request_delete_range: { key: keyOf(what.identity) } };
        const found = await unlessChanged(what, remove, signal);
        if (found === "changed now" || found === "gone") {
          stopKeeping(keyOf(what.identity));
          return nothing;
        }
        return failed("the destination has already claimed the guest at the fence");
      }),
    release: async ({ identity }) => {
      await drop(identity).catch(() => {});
    },
  };
}

/** Maps every error to `unknown`: the transaction may have been executed although no valid answer arrived. */
async function answering<T>(run: () => Promise<Answer<T>>): Promise<Answer<T>> {
  try {
    return await run();
  } catch (error) {
    return unknown(messageOf(error));
  }
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

const answerLimitMs = 3_000;

function post(url: URL, body: object, tls: object, signal?: AbortSignal): Promise<unknown> {
  const request = url.protocol === "https:" ? requestTls : requestPlain;
  const text = JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const asked = request(
      url,
      { method: "POST", timeout: answerLimitMs, ...(signal && { signal }), ...tls },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const answer = Buffer.concat(chunks).toString();
          if (response.statusCode !== 200)
            reject(new Error(`HTTP status ${response.statusCode}: ${answer.trim()}`));
          else {
            try {
              resolve(JSON.parse(answer));
            } catch (error) {
              reject(error);
            }
          }
        });
      },
    );
    asked.on("timeout", () => asked.destroy(new Error(`no answer within ${answerLimitMs} ms`)));
    asked.on("error", reject);
    asked.setHeader("content-type", "application/json");
    asked.end(text);
  });
}

/**
 * A fence by proof, for embedders: `isDead` returns true only when the destination's host is certainly dead, for example
 * powered off by its management controller. It must return false when it cannot tell.
 */
export function fenceByProof(isDead: (identity: Identity) => Promise<boolean>): Fence {
  return {
    offer: async () => done("proof"),
    claim: async () => nothing,
    disclaim: async () => nothing,
    fence: async ({ identity }) =>
      (await isDead(identity)) ? nothing : failed("the destination's host is not proven dead"),
    release: async () => {},
  };
}
