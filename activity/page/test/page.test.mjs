// The page in a real browser, over the records that activity/tests/graph.rs made up: drawn, filtered, pointed at, walked by
// keyboard, taken away as files, read in light and dark and on a small screen.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, test } from "node:test";
import axe from "axe-core";
import { chromium } from "playwright-core";

const { GRAPH_URL, CROWD_URL, CHROMIUM } = process.env;
const SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const WAIT = 60_000;
let browser;
let page;
/** What the browser complains of: errors of scripts, and all that the page's policy refuses. */
let complaints = [];

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: SWITCHES });
});
after(() => browser.close());
afterEach(async () => {
  await page.context().close();
  assert.deepEqual(complaints, []);
});

async function open(hash = "", options = {}, url = GRAPH_URL) {
  complaints = [];
  page = await (await browser.newContext({ reducedMotion: "reduce", viewport: { width: 1440, height: 900 }, ...options })).newPage();
  page.setDefaultTimeout(WAIT);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => request.url().startsWith(url) || /^(blob|data):/.test(request.url()) || complaints.push(`asks ${request.url()}`));
  await page.goto(url + hash);
  await still();
}

const still = () => page.waitForSelector('#graph[data-state="still"]');
const status = () => page.textContent("#status");
/** Waits, for what was chosen goes to the server first. */
const says = (text) => page.waitForFunction((text) => document.getElementById("status").textContent.includes(text), text);
const heading = () => page.textContent("#details h2");
const hasHeading = (text) => page.waitForFunction((text) => document.querySelector("#details h2")?.textContent === text, text);
/** Where a node is in the window; the library keeps itself with its container. */
const place = (key) => page.evaluate((key) => {
  const graph = document.getElementById("graph");
  const { x, y } = graph._cyreg.cy.getElementById(key).renderedPosition();
  const { left, top } = graph.getBoundingClientRect();
  return { x: left + x, y: top + y };
}, key);
/** How many points of the picture are not background. */
const drawn = (selector) => page.evaluate((selector) => [...document.querySelectorAll(selector)].reduce((sum, canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 3; i < data.length; i += 4) sum += data[i] > 0;
  return sum;
}, 0), selector);

async function downloaded(name) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name }).click()]);
  return { name: download.suggestedFilename(), bytes: await readFile(await download.path()) };
}

test("draws the attack among normal life", async () => {
  await open();
  assert.match(await status(), /^\d+ edges between \d+ nodes of \d+ records\.$/);
  assert.ok((await drawn("#graph canvas")) > 20_000, "the graph is drawn");
  assert.ok((await drawn("#labels")) > 2_000, "names are drawn");
  const forward = page.getByRole("button", { name: /mallory@evil\.example/ });
  assert.ok((await forward.count()) > 0, "the forward to outside is in the list");
});

test("two people of one name are told apart, and a name hides nothing that it is made of", async () => {
  await open();
  const list = page.locator("#details");
  assert.ok((await list.getByText(/^megan@contoso\.example → /).count()) > 0, "one has her domain");
  await page.getByRole("button", { name: /megan@contoso-example\.com → / }).first().click();
  await page.getByRole("button", { name: /a\\u\{202e\}vsc\.exe/ }).first().waitFor();
  assert.ok(!(await page.textContent("body")).includes("\u202e"));
});

test("a filter takes away what it says, survives a reload, and can be taken back", async () => {
  await open();
  const all = await status();
  await page.getByRole("checkbox", { name: /^SharePoint/ }).uncheck();
  await page.waitForFunction((all) => document.getElementById("status").textContent !== all, all);
  assert.equal(await page.locator("#legend").getByRole("button", { name: /^files/ }).locator(".count").textContent(), "0");
  const less = await status();
  await page.reload();
  await still();
  assert.equal(await status(), less);

  await page.getByRole("button", { name: "Show all again" }).click();
  await says(all);
  await page.getByRole("checkbox", { name: /^mailbox → mail address/ }).waitFor();
  for (const box of await page.locator("#kinds").getByRole("checkbox").all()) {
    if (!(await box.evaluate((box) => box.closest("label").textContent)).startsWith("mailbox")) await box.uncheck();
    await still();
  }
  await says("1 edge between 2 nodes of 1 record.");
});

test("user, time, least count and top narrow it down, and what is left out is told", async () => {
  await open();
  await page.getByRole("combobox", { name: "User" }).fill("MEGAN@contoso.example");
  await page.getByRole("combobox", { name: "User" }).press("Enter");
  await says(" of 34 records.");
  await page.getByRole("button", { name: "Show all again" }).click();
  await page.getByLabel("From (UTC)").fill("2026-11-20T03:00:00");
  await page.getByLabel("From (UTC)").press("Tab");
  await says(" of 4 records.");
  assert.match(await page.textContent("#range"), /^2026-11-20 03:00:00 to …/);
  await page.getByRole("button", { name: "Show all again" }).click();
  await page.getByLabel(/^Show at most/).selectOption("50");
  await page.waitForFunction(() => /^50 edges .* Left out: \d+ edges, \d+ nodes; of each kind the first stay\./.test(document.getElementById("status").textContent));
  await page.getByLabel(/^Least records/).fill("25");
  await page.getByLabel(/^Least records/).press("Enter");
  await page.waitForFunction(() => /\d+ edges below 25 records\./.test(document.getElementById("status").textContent));
});

test("a drag over the bars chooses a time", async () => {
  await open();
  const all = await status();
  const { x, y, width, height } = await page.locator("#bars").boundingBox();
  await page.mouse.move(x + 2, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + width / 4, y + height / 2);
  await page.mouse.up();
  await page.waitForFunction(() => document.getElementById("to").value !== "");
  await page.waitForFunction((all) => document.getElementById("status").textContent !== all, all);
  await page.getByRole("button", { name: "All times" }).click();
  await says(all);
  assert.equal(await page.inputValue("#to"), "");
});

test("a click on a node reads its records, down to one as it stands in the database, and nothing in it becomes markup", async () => {
  await open();
  await page.mouse.click(...Object.values(await place("mailbox:megan@contoso.example")));
  await hasHeading("megan@contoso.example");
  await page.getByRole("button", { name: /^New-InboxRule/ }).click();
  const text = await page.waitForFunction(() => [...document.querySelectorAll("#details pre")].find((pre) => pre.textContent.includes("{"))?.textContent);
  const record = JSON.parse(await text.jsonValue());
  assert.equal(record.Name, "<img src=x onerror=document.title='broken'>");
  assert.ok(record.edges.length > 0 && !("_rid" in record));
  assert.equal(await page.locator("#details img").count(), 0);
  assert.equal(await page.title(), "Office 365 activity as a graph");
});

test("around a node are its neighbours, step by step", async () => {
  await open();
  await page.mouse.click(...Object.values(await place("ip:203.0.113.66")));
  await hasHeading("203.0.113.66");
  await page.getByRole("button", { name: "Only what is around it" }).click();
  await says("2 edges between 3 nodes");
  await page.getByRole("button", { name: "2 steps" }).click();
  await page.waitForFunction(() => !document.getElementById("status").textContent.startsWith("2 edges"));
  await page.getByRole("button", { name: "All again", exact: true }).click();
  await page.waitForFunction(() => !location.hash.includes("node="));
});

test("what to look at first stands first, one line however many records, and opens to them", async () => {
  await open();
  const list = page.locator("#details");
  assert.equal(await heading(), "What to look at first");
  assert.equal(await list.getByRole("button", { name: /Many wrong passwords for one account/ }).count(), 1);
  assert.equal(await list.getByRole("button", { name: /Rule made/ }).count(), 0);
  await list.getByRole("button", { name: "Also 1 line of low level" }).click();
  await list.getByRole("button", { name: /Rule made/ }).waitFor();

  await list.getByRole("button", { name: /^high Mail goes <outside>/ }).click();
  await hasHeading("Mail goes <outside>");
  await list.getByRole("button", { name: /^New-InboxRule/ }).click();
  const record = await page.waitForFunction(() => [...document.querySelectorAll("#details pre")].find((pre) => pre.textContent.includes("{"))?.textContent);
  assert.equal(JSON.parse(await record.jsonValue()).id, "rule");
  await page.waitForFunction(() => document.getElementById("graph")._cyreg.cy.edges(".lit").length === 1);
  await list.getByRole("button", { name: "Only its edges" }).click();
  await says("1 edge between 2 nodes of 1 record.");
  assert.match(await page.textContent("#around"), /Mail goes <outside>/);
  await page.getByRole("button", { name: "All again", exact: true }).click();
  await page.waitForFunction(() => !location.hash.includes("rule="));
});

test("edges of records that rules found are marked, and can be seen alone", async () => {
  await open();
  const marked = () => page.evaluate(() => document.getElementById("graph")._cyreg.cy.edges("[mark]").map((edge) => `${edge.source().id()} ${edge.target().id()}`).sort());
  assert.deepEqual(await marked(), ["mailbox:megan@contoso.example address:mallory@evil.example", "user:target@contoso.example ip:203.0.113.9"]);
  assert.match(await page.textContent("#legend"), /edge of a high finding/);
  await page.getByLabel("Findings").selectOption("high");
  await says("1 edge between 2 nodes of 1 record.");
});

test("sessions at more than one address are seen by a switch", async () => {
  await open();
  await page.getByRole("checkbox", { name: "Only sessions at more than one address" }).check();
  await says("3 edges between 4 nodes of 2 records.");
  await page.reload();
  await still();
  assert.ok(await page.getByRole("checkbox", { name: "Only sessions at more than one address" }).isChecked());
});

test("it tells how something could get from one node to another, step by step in time", async () => {
  await open();
  await page.getByRole("combobox", { name: "Search a node" }).fill("203.0.113.66");
  await page.getByRole("option", { name: /^203\.0\.113\.66/ }).click();
  await page.getByRole("button", { name: "How could it get from here to …" }).click();
  await page.waitForFunction(() => document.getElementById("around").textContent.includes("203.0.113.66"));
  await page.getByRole("combobox", { name: "Search a node" }).fill("payroll");
  await page.getByRole("option", { name: /Payroll\.csv/ }).click();
  await page.getByRole("button", { name: "… to here, from 203.0.113.66?" }).click();
  await hasHeading("How could it get there?");
  await says("2 edges between 3 nodes");
  const steps = page.locator("#details ol > li");
  await steps.first().waitFor();
  assert.deepEqual((await steps.locator(".step").allTextContents()).map((text) => text.trim()), ["203.0.113.66 →  megan", "megan →  Payroll.csv"]);
  await steps.nth(1).getByRole("button").click();
  await page.waitForFunction(() => [...document.querySelectorAll("#details pre")].some((pre) => pre.textContent.includes('"id": "load"')));
  await page.getByRole("button", { name: "All again", exact: true }).click();
  await hasHeading("What to look at first");

  await page.goto(`${GRAPH_URL}#${new URLSearchParams({ pathFrom: "file:https://contoso.example/sites/finance/Payroll.csv", pathTo: "ip:203.0.113.66" })}`);
  await page.getByText("There is no such way").waitFor();
});

test("everything can be done by keyboard", async () => {
  await open();
  await page.keyboard.press("/");
  await page.keyboard.type("megan@");
  await page.getByRole("option", { name: /^megan@contoso\.example\s*, user/ }).waitFor();
  await page.keyboard.press("Enter");
  await hasHeading("megan@contoso.example");
  await page.locator("#graph").focus();
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction(() => document.querySelector("#details h2").textContent !== "megan@contoso.example");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "details");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Only what is around it");
  await page.keyboard.press("Escape");
  await hasHeading("What to look at first");
  assert.equal(await page.evaluate(() => document.activeElement.id), "graph");
});

test("a search finds what the filters hide", async () => {
  await open("#withoutTypes=file");
  await page.getByRole("combobox", { name: "Search a node" }).fill("payroll");
  await page.getByRole("option", { name: /Payroll\.csv/ }).click();
  await hasHeading("https://contoso.example/sites/finance/Payroll.csv");
  assert.ok((await page.evaluate(() => location.hash)).includes("node="));
});

test("the picture comes as PNG, and its edges as CSV that no spreadsheet takes for formulas", async () => {
  await open();
  const picture = await downloaded("Picture as PNG");
  assert.equal(picture.name, "graph.png");
  assert.equal(picture.bytes.subarray(1, 4).toString(), "PNG");
  assert.ok(picture.bytes.readUInt32BE(16) > 1000 && picture.bytes.length > 50_000, "twice as fine as the view, and not empty");
  const table = await downloaded("Edges as CSV");
  assert.equal(table.name, "edges.csv");
  const lines = table.bytes.toString().split("\r\n");
  assert.equal(lines[0], '\ufeff"from","fromType","to","toType","operation","records","first","last"');
  assert.ok(lines.some((line) => line.startsWith(`"megan@contoso.example","mailbox","mallory@evil.example","address","New-InboxRule","1"`)), lines[1]);
  assert.ok(lines.some((line) => line.includes(`"'=HYPERLINK(""http://evil.example"")"`)));
});

test("light and dark follow the system, until the switch says otherwise", async () => {
  const background = () => page.evaluate(() => getComputedStyle(document.getElementById("stage")).backgroundColor);
  await open("", { colorScheme: "light" });
  const light = await background();
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await background();
  assert.notEqual(dark, light);
  await page.getByRole("button", { name: "Dark", pressed: true }).click();
  assert.equal(await background(), light);
  await page.reload();
  await still();
  assert.equal(await background(), light);
});

for (const [colorScheme, width, height] of [["light", 1440, 900], ["dark", 1440, 900], ["light", 390, 800]]) {
  test(`breaks no rule of accessibility at ${width} points, ${colorScheme}`, async () => {
    await open("", { colorScheme, viewport: { width, height } });
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`), []);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${overflow} points wider than the window`);
  });
}

test("2,000 edges are drawn, and can be looked at closer", async () => {
  await open("#top=2000", {}, CROWD_URL);
  assert.match(await status(), /^2,000 edges between [\d,]+ nodes/);
  assert.ok((await drawn("#labels")) > 2_000);
  await page.locator("#graph").focus();
  const before = await page.evaluate(() => document.getElementById("graph")._cyreg.cy.zoom());
  await page.keyboard.press("+");
  assert.ok((await page.evaluate(() => document.getElementById("graph")._cyreg.cy.zoom())) > before);
});
