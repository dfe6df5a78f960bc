// The demo, as `demo --run` shows it: its appliances, and the control plane that steers to them.

import { setTimeout as sleep } from 'node:timers/promises';

const PATIENCE = 60_000;         // milliseconds until the control plane has seen what became of an appliance: its polls take a second or two

export function demand(isSo, what) {
  if (!isSo) throw new Error(what);
}

export class Demo {
  constructor(address) { this.address = address; }

  async facts() { return (await fetch(`${this.address}/system.json`)).json(); }

  async act(appliance, what) {
    const answer = await fetch(`${this.address}/appliances/${appliance}/${what}`, { method: 'POST', headers: { 'x-demo': 'meant' } });
    demand(answer.ok, `${what} ${appliance}: ${answer.status} ${await answer.text()}`);
  }

  async metrics(appliance) { return (await fetch(`${this.address}/appliances/${appliance}/metrics`)).text(); }

  // Waits until the control plane steers to these appliances and no others.
  async steeredTo(appliances) {
    const { control_plane: plane, titles } = await this.facts();
    const wanted = [...appliances].sort().join();
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const answer = await (await fetch(`${plane}/v1/steer/hls?client=127.0.0.1&path=${titles[1]}`)).json();
      const steered = answer['PATHWAY-PRIORITY'].filter(one => one !== '.').sort().join();
      if (steered === wanted) return;
      demand(Date.now() < deadline, `players are sent to ${steered}, not to ${wanted}`);
      await sleep(200);
    }
  }

  // All serve as at the beginning.
  async restore(appliances) {
    for (const appliance of appliances) {
      await this.act(appliance, 'start');
      await this.act(appliance, 'serve');
    }
    await this.steeredTo(appliances);
  }

  // Requests with CMCD that the appliances counted, all of them since they were started.
  async counted() {
    const { appliances } = await this.facts();
    const lines = (await Promise.all(appliances.map(one => this.metrics(one.name)))).join('\n').split('\n');
    const metrics = lines.filter(line => line.startsWith('oca_cmcd_requests_total'));
    demand(metrics.length > 0, 'the appliances have no oca_cmcd_requests_total');
    return metrics.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }
}
