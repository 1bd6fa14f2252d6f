// The two QEMUs of the simulated world: what they would do by themselves, as facts/qemu.md has measured it. Each keeps
// its facts in the order in which it said them.

import type { DestinationFact, SourceFact } from "../effects/ports.js";
import { cause } from "../protocol/answer.js";
import type { Ended } from "../protocol/messages.js";

export class SimulatedSource {
  alive = true;
  cpu: "running" | "stopped" = "running";
  migration: "none" | "active" | "preSwitchover" | "device" | "cancelling" | Ended = "none";
  /** The guest has stopped, and nobody has been told yet: a short pause is over before its beginning is told. */
  stopUntold = false;
  facts: SourceFact[] = [];

  clone(): SimulatedSource {
    return Object.assign(new SimulatedSource(), this, { facts: [...this.facts] });
  }

  get key(): string {
    return `${this.alive} ${this.cpu} ${this.migration} ${this.stopUntold} ${this.facts.map((it) => it.type)}`;
  }

  get ended(): Ended | undefined {
    const { migration } = this;
    return migration === "none" ||
      migration === "cancelled" ||
      migration === "failed" ||
      migration === "completed"
      ? migration
      : undefined;
  }

  pause(then: "preSwitchover" | "device"): void {
    this.cpu = "stopped";
    this.migration = then;
    this.stopUntold = true;
  }

  tellStop(): void {
    if (!this.stopUntold) return;
    this.stopUntold = false;
    this.facts.push({ type: "monitor.stopped" });
  }

  waitBeforeSwitchover(): void {
    this.stopUntold = false;
    this.facts.push({ type: "monitor.preSwitchover" });
  }

  complete(): void {
    this.migration = "completed";
    this.stopUntold = false;
    this.facts.push({ type: "monitor.completed" });
  }

  /** QEMU lets its guest go on by itself when its migration does not complete; not always, and then it has to be told. */
  giveUp(how: "failed" | "cancelled", { resumes = true } = {}): void {
    if (resumes && this.cpu === "stopped") {
      this.tellStop();
      this.facts.push({ type: "monitor.resumed" });
    }
    if (resumes) this.cpu = "running";
    this.migration = how;
    this.stopUntold = false;
    this.facts.push(
      how === "failed"
        ? { type: "monitor.failed", cause: cause("stream broke") }
        : { type: "monitor.cancelled" },
    );
  }

  die(): void {
    if (!this.alive) return;
    this.alive = false;
    this.facts.push({ type: "process.exited", cause: cause("killed") });
  }
}

export class SimulatedDestination {
  alive = false;
  everRan = false;
  cpu: "running" | "stopped" = "stopped";
  stream: "none" | "listening" | "active" | "whole" = "none";
  facts: DestinationFact[] = [];

  clone(): SimulatedDestination {
    return Object.assign(new SimulatedDestination(), this, { facts: [...this.facts] });
  }

  get key(): string {
    return `${this.alive} ${this.everRan} ${this.cpu} ${this.stream} ${this.facts.map((it) => it.type)}`;
  }

  die(): void {
    if (!this.alive) return;
    this.alive = false;
    this.cpu = "stopped";
    this.facts.push({ type: "process.exited", cause: cause("killed") });
  }
}
