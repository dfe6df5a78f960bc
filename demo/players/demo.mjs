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

  // The appliances that viewers are steered to, best first: those near by, then those far away.
  async orders() {
    const { control_plane: plane, titles, viewers } = await this.facts();
    return Promise.all(viewers.map(async client => {
      const answer = await (await fetch(`${plane}/v1/steer/hls?client=${client}&path=${titles[1]}`)).json();
      return answer['PATHWAY-PRIORITY'].filter(one => one !== '.').join();
    }));
  }

  // Waits until the control plane steers to this appliance and no other.
  async steeredTo(appliance) {
    const { viewers } = await this.facts();
    await this.steered(viewers.map(() => appliance));
  }

  // Waits until the control plane steers in these orders.
  async steered(wanted) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const orders = await this.orders();
      if (orders.join(' ') === wanted.join(' ')) return;
      demand(Date.now() < deadline, `players are sent to ${orders.join(' and ')}, not to ${wanted.join(' and ')}`);
      await sleep(200);
    }
  }

  // All serve as at the beginning, when viewers were steered in these orders. An appliance that has just started is taken for half full until
  // it has told its load: whoever came before would be steered back in the middle of a scene.
  async restore(appliances, orders) {
    for (const appliance of appliances) {
      await this.act(appliance, 'start');
      await this.act(appliance, 'serve');
    }
    await this.steered(orders);
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
