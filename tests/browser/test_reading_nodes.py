"""Reading nodes show what they found: a picture, every concept with its presence, words; and names to click on."""

from __future__ import annotations

from typing import Any

import pytest

from tools.server.front_end import fit_view

from .making import MAKE

pytestmark = pytest.mark.browser

READERS = ("Mask", "Segmentation", "Heatmap", "Boxes", "")
BUILD = "async (readers) => {" + MAKE + """
    const model = add('ConceptAttentionDemoModel', 0, 0);
    const positive = add('CLIPTextEncode', 250, 200, {text: 'boat, sea, sky'});
    const latent = add('EmptySD3LatentImage', 0, 300, {width: 192, height: 160});
    const apply = add('ConceptAttentionApply', 250, -250, {concepts: 'boat、sea；sky\\nowl'});
    const sampler = add('KSampler', 600, 0, {
        seed: 4, control_after_generate: 'fixed', steps: 12, cfg: 1, sampler_name: 'euler', scheduler: 'simple'});
    const decode = add('VAEDecode', 600, 500);
    link(model, 'MODEL', apply, 'model'); link(model, 'CLIP', apply, 'clip');
    link(model, 'CLIP', positive, 'clip');
    link(apply, 'MODEL', sampler, 'model'); link(positive, 'CONDITIONING', sampler, 'positive');
    link(positive, 'CONDITIONING', sampler, 'negative'); link(latent, 'LATENT', sampler, 'latent_image');
    link(sampler, 'LATENT', decode, 'samples'); link(model, 'VAE', decode, 'vae');
    readers.forEach((reader, at) => {
        const node = add(`ConceptAttention${reader}`, 950 + 300 * at, 0);
        link(apply, 'CONCEPT_ATTENTION', node, reader ? 'maps' : 'concept_attention');
        link(sampler, 'LATENT', node, 'samples'); link(decode, 'IMAGE', node, 'image');
    });
    await app.loadGraphData(app.graph.serialize());
}"""
CHIPS = """() => app.graph.nodes.find((node) => node.type === 'ConceptAttentionMask').widgets.find(
    (one) => one.name === 'concept_names').element"""
SHOWN = """() => app.graph.nodes.filter(
        (node) => node.widgets?.some((one) => one.name === 'concept_names')).map((node) => {
    const root = node.widgets.find((one) => one.name === 'concept_names').element;
    const chips = [...root.querySelectorAll('button')];
    const image = node.imgs?.[0] ?? document.querySelector(`[data-node-id="${node.id}"] img`);
    return {type: node.type, size: [image?.naturalWidth, image?.naturalHeight],
            chips: chips.map((one) => one.textContent), absent: chips.map((one) => one.className),
            said: root.querySelector('.said').textContent};
})"""


@pytest.fixture(params=[False, True], ids=["LiteGraph", "Nodes 2.0"])
def rendered(front_end: Any, request: pytest.FixtureRequest) -> Any:
    setting = "async (on) => { await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on) }"
    front_end.page.evaluate(setting, request.param)
    yield front_end
    front_end.page.evaluate("() => app.graph.clear()")
    front_end.page.evaluate(setting, False)


def test_every_reading_node_shows_what_it_found(rendered: Any, request: pytest.FixtureRequest) -> None:
    front_end, page = rendered, rendered.page
    page.evaluate(BUILD, list(READERS))
    front_end.until(lambda: all(one["chips"] for one in page.evaluate(SHOWN)))
    fit_view(page)  # nodes have grown by their names
    # Before any run: the names that are typed in the node where the maps come from.
    assert [one["chips"] for one in page.evaluate(SHOWN)] == 5 * [["boat", "sea", "sky", "owl", "background"]]
    # Names are clicked on, not typed.
    chips = page.evaluate_handle(CHIPS).as_element()
    front_end.until(lambda: (page.evaluate("() => app.canvas.draw(true, true)"), chips.is_visible())[1])
    concept = "() => app.graph.nodes.find((n) => n.type === 'ConceptAttentionMask').widgets.find(" \
        "(w) => w.name === 'concept').value"
    chips.query_selector_all("button")[3].click()
    assert page.evaluate(concept) == "owl"
    result = front_end.run()
    assert result.ok, result.error
    front_end.until(lambda: all(one["size"][0] for one in page.evaluate(SHOWN)))
    page.wait_for_timeout(1500)
    front_end.screenshot(f"reading nodes {request.node.callspec.id}")
    shown = {one["type"]: one for one in page.evaluate(SHOWN)}
    for one in shown.values():
        assert [chip.rpartition(" ")[0] for chip in one["chips"]] == ["boat", "sea", "sky", "owl", "background"]
        assert one["absent"][3] == "absent" and "absent" not in (one["absent"][1], one["absent"][2])
    assert shown["ConceptAttentionMask"]["size"] == [192, 160]
    assert "'owl' is not in picture 1" in shown["ConceptAttentionMask"]["said"]
    assert not shown["ConceptAttention"]["said"]
    chips.query_selector_all("button")[0].click()
    chips.query_selector_all("button")[1].click(modifiers=["Shift"])
    assert page.evaluate(concept) == "boat + sea"
    # What a workflow holds is what it held before the names came.
    saved = page.evaluate("() => app.graph.serialize()")
    (values,) = (node["widgets_values"] for node in saved["nodes"] if node["type"] == "ConceptAttentionMask")
    assert values[:2] == ["boat + sea", "argmax"] and len(values) == 16
    page.evaluate("async (saved) => { await app.loadGraphData(saved) }", saved)
    front_end.until(lambda: page.evaluate(SHOWN)[0]["chips"][1].startswith("sea "))
    assert page.evaluate(concept) == "boat + sea"
