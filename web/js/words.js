// What the pack's own controls say in the front end's language. Keys are the English words; {…} is filled in.

import { app } from "../../../scripts/app.js";

const LANGUAGES = ["zh", "ja", "ko"];
const WORDS = {
  "Concept map": ["概念图", "コンセプトマップ", "개념 맵"],
  "Concept": ["概念", "コンセプト", "개념"],
  "Concepts": ["概念", "コンセプト", "개념"],
  "View": ["视图", "表示", "보기"],
  "Which concept to show": ["显示哪个概念", "表示するコンセプト", "표시할 개념"],
  "What to show": ["显示什么", "何を表示するか", "무엇을 표시할지"],
  "Heat map": ["热力图", "ヒートマップ", "히트맵"],
  "All concepts": ["全部概念", "すべてのコンセプト", "모든 개념"],
  "Mask": ["遮罩", "マスク", "마스크"],
  "By block": ["按块", "ブロックごと", "블록별"],
  "By step": ["按步", "ステップごと", "스텝별"],
  "Threshold": ["阈值", "しきい値", "임계값"],
  "The share of the competition from which on a place is masked": ["竞争份额达到此值的地方被遮罩",
    "競争のシェアがこの値以上の場所をマスクします", "경쟁에서 이 몫 이상을 얻은 곳을 마스크합니다"],
  "Temperature": ["温度", "温度", "온도"],
  "Above 1 softens the competition, below 1 sharpens it": ["大于 1 使竞争更平缓，小于 1 使其更尖锐",
    "1 より大きいと競争が緩やかに、小さいと鋭くなります", "1보다 크면 경쟁이 부드러워지고, 작으면 날카로워집니다"],
  "Blocks from": ["块从", "ブロック", "블록"],
  "Blocks to": ["块到", "ブロックの終わり", "블록 끝"],
  "Steps from": ["步从", "ステップ", "스텝"],
  "Steps to": ["步到", "ステップの終わり", "스텝 끝"],
  "to": ["到", "〜", "~"],
  "The first block of the model to average": ["参与平均的第一个块", "平均する最初のブロック", "평균할 첫 블록"],
  "The last block of the model to average": ["参与平均的最后一个块", "平均する最後のブロック", "평균할 마지막 블록"],
  "The first step to average": ["参与平均的第一步", "平均する最初のステップ", "평균할 첫 스텝"],
  "The last step to average": ["参与平均的最后一步", "平均する最後のステップ", "평균할 마지막 스텝"],
  "Picture": ["图像", "画像", "이미지"],
  "Which picture of the batch": ["批次中的哪张图像", "バッチのどの画像か", "배치의 어느 이미지인지"],
  "Brush": ["画笔", "ブラシ", "브러시"],
  "Size of the brush": ["画笔大小", "ブラシの大きさ", "브러시 크기"],
  "Paint +": ["涂 +", "塗る +", "칠하기 +"],
  "Paint -": ["涂 -", "塗る -", "칠하기 -"],
  "Paint on the picture to add to the mask": ["在图像上涂抹以加入遮罩", "画像に塗ってマスクに加えます",
    "이미지에 칠해 마스크에 더합니다"],
  "Paint on the picture to take from the mask": ["在图像上涂抹以从遮罩中去除", "画像に塗ってマスクから除きます",
    "이미지에 칠해 마스크에서 뺍니다"],
  "Undo": ["撤销", "元に戻す", "실행 취소"],
  "Take back the last stroke": ["撤销最后一笔", "最後の線を取り消します", "마지막 획을 되돌립니다"],
  "Clear": ["清除", "消去", "지우기"],
  "Take back all strokes": ["撤销所有笔迹", "すべての線を取り消します", "모든 획을 되돌립니다"],
  "Keep old strokes": ["保留旧笔迹", "前の線を使う", "이전 획 쓰기"],
  "Use the strokes of older pictures on this one, too": ["在这张图像上也使用旧图像的笔迹",
    "前の画像の線をこの画像でも使います", "이전 이미지의 획을 이 이미지에도 씁니다"],
  "Play": ["播放", "再生", "재생"],
  "Show one step after another": ["逐步显示", "ステップを順に表示します", "스텝을 차례로 표시합니다"],
  "Save PNG": ["保存 PNG", "PNG を保存", "PNG 저장"],
  "Save what is seen": ["保存所见", "表示中のものを保存します", "보이는 것을 저장합니다"],
  ["Click, or left and right: choose a concept. Up and down: the threshold. While painting, arrows move the "
    + "brush and space paints."]: ["点击，或左右键：选择概念。上下键：阈值。涂抹时方向键移动画笔，空格键落笔。",
      "クリック、または左右：コンセプトを選ぶ。上下：しきい値。塗るときは矢印でブラシを動かし、スペースで塗ります。",
      "클릭 또는 좌우: 개념 선택. 위아래: 임계값. 칠할 때는 화살표로 브러시를 옮기고 스페이스로 칠합니다."],
  "Run the workflow to see its maps.": ["运行工作流即可看到概念图。", "ワークフローを実行するとマップが表示されます。",
    "워크플로를 실행하면 맵이 보입니다."],
  "These maps are gone: the server was restarted, or newer runs took their place. Run again.":
    ["这些概念图已不在：服务器已重启，或被更新的运行取代。请重新运行。",
      "このマップはもうありません：サーバーが再起動したか、新しい実行に置き換わりました。もう一度実行してください。",
      "이 맵은 이제 없습니다: 서버가 다시 시작되었거나 새 실행으로 바뀌었습니다. 다시 실행하세요."],
  "There is no room for more strokes in this node. Undo or clear some.":
    ["此节点容不下更多笔迹。请撤销或清除一些。", "このノードにはこれ以上線を入れられません。取り消すか消去してください。",
      "이 노드에는 획을 더 넣을 수 없습니다. 일부를 되돌리거나 지우세요."],
  "Step {step} of {steps}: {names}": ["第 {step} 步，共 {steps} 步：{names}", "ステップ {step} / {steps}：{names}",
    "스텝 {step} / {steps}: {names}"],
  "{name}: mask {part}.": ["{name}：遮罩 {part}。", "{name}：マスク {part}。", "{name}: 마스크 {part}."],
  "{name}, not in this picture: mask {part}.": ["{name}，不在此图像中：遮罩 {part}。",
    "{name}、この画像にはありません：マスク {part}。", "{name}, 이 이미지에 없음: 마스크 {part}."],
  "These maps have no \"{name}\". Choose a concept.": ["这些概念图中没有“{name}”。请选择一个概念。",
    "このマップに「{name}」はありません。コンセプトを選んでください。", "이 맵에는 \"{name}\"이(가) 없습니다. 개념을 고르세요."],
  " {count} stroke(s) belong to another picture and are not used.": [" 有 {count} 笔属于另一张图像，未使用。",
    " {count} 本の線は別の画像のもので、使われません。", " 획 {count}개는 다른 이미지의 것이라 쓰이지 않습니다."],
  "{name}: presence {sure}": ["{name}：存在度 {sure}", "{name}：存在度 {sure}", "{name}: 존재도 {sure}"],
  "Choose {name}. With Shift: add it.": ["选择 {name}。按住 Shift：追加。", "{name} を選びます。Shift で追加。",
    "{name} 선택. Shift와 함께: 추가."],
  "Known concepts": ["已知概念", "既知のコンセプト", "알려진 개념"],
  "Concepts while the picture forms": ["图像形成时的概念", "画像ができていく間のコンセプト", "이미지가 만들어지는 동안의 개념"],
};

/** An English text in the front end's language, or as it is; `{name}` is filled from values. */
export function word(text, values = {}) {
  const language = String(app.extensionManager?.setting?.get("Comfy.Locale") ?? "en").slice(0, 2);
  const translated = WORDS[text]?.[LANGUAGES.indexOf(language)] ?? text;
  return translated.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
