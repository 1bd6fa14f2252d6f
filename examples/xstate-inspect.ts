import { randomUUID } from "node:crypto";
import { inspect } from "@xstate/inspect/lib/server.js";
import { launchGuest, migrate } from "switchover";
import { bridgeToXStateInspect } from "switchover/xstate-inspect";
import { WebSocketServer } from "ws";

// Whoever reaches the port sees everything: only on loopback.
const server = new WebSocketServer({ host: "127.0.0.1", port: 8888 });
// The types of the package mean the CommonJS half of ws, which is the same class.
inspect({ server: server as never });

const guest = await launchGuest({
  name: "web-1",
  uuid: randomUUID(),
  args: ["-machine", "pc,accel=tcg", "-nodefaults", "-display", "none", "-m", "65544K"],
});
const migration = migrate({
  guest,
  inspect: bridgeToXStateInspect(Reflect.get(globalThis, "__xstate__"), {
    refused: ({ machine, what }) => console.error(`an inspector sent ${what} to the ${machine}: refused`),
  }),
});
const { kind, guest: now } = await migration.outcome;
console.log(kind);
await now?.end();
server.close();
