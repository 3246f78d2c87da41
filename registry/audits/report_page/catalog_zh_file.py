"""Chinese for the audits of a file's scales, types, claims and spare room; see `catalog_zh.py`."""

# ruff: noqa: RUF001 - Chinese has punctuation of its own

from __future__ import annotations

_SCALE = {
    "scales": "缩放系数",
    "stated by": "依据",
    "the scale of {} of {} modules was worked out": "已确定 {1} 个模块中 {0} 个的缩放系数",
    "the scale of {} modules could not be worked out": "{0} 个模块的缩放系数无法确定",
    "the scale of {} modules is outside of {} to {}": "{0} 个模块的缩放系数超出 {1} 到 {2} 的范围",
    "check alpha and rank; outputs may be drowned, or not change at all": (
        "请检查 alpha 与秩；输出可能被淹没，也可能毫无变化"
    ),
    "check that whoever trained it meant to weigh these modules differently": (
        "请确认训练者确实有意让这些模块采用不同的权重"
    ),
    "export alpha as F32, and rank_pattern and alpha_pattern with plain names": (
        "请以 F32 导出 alpha，并在 rank_pattern 与 alpha_pattern 中使用普通名称"
    ),
    "{} modules have another alpha than others of the same component, method and rank": (
        "{0} 个模块的 alpha 与同一组件、方法和秩的其他模块不同"
    ),
    "{} modules have no alpha and {} have one; loaders take the rank there": (
        "{0} 个模块没有 alpha，{1} 个模块有；没有时加载器以秩代替"
    ),
    "alpha is rounded by up to {} % of what {} says: {} cannot hold it": (
        "alpha 相对 {1} 的声明最多被舍入 {0} %：{2} 无法准确表示它"
    ),
    "ask its owner which is right: the header, or the tensors; loaders follow the tensors": (
        "请向其所有者确认头部与张量哪个正确；加载器以张量为准"
    ),
    "harmless below 1 %; else export alpha as F32": "低于 1 % 时无妨；否则请以 F32 导出 alpha",
    "{} is no rank of any module; the tensors have {}": "{0} 不是任何模块的秩；张量的秩为 {1}",
    "{} is the alpha of no module": "{0} 不是任何模块的 alpha",
    "{} modules store another alpha than {} says (lora_alpha, alpha_pattern); "
    "loaders differ in which they take": (
        "{0} 个模块所存的 alpha 与 {1} 的声明（lora_alpha、alpha_pattern）不同；不同加载器的取舍不一"
    ),
    "{}, in {} modules of such kind: see the scale audit": "{0}，此类模块共 {1} 个：请参见缩放系数审计",
}

_TYPES = {
    "types": "类型",
    "factors": "因子",
    "largest share of zeros in a living factor": "有效因子中零值的最大占比",
    "{} of {} factors are too small for their type": "{1} 个因子中有 {0} 个小到其类型无法准确表示",
    "{} of {} {} factors were rounded through {}": "{1} 个 {2} 因子中有 {0} 个曾经过 {3} 舍入",
    "{} % of {} is exactly zero": "{1} 中有 {0} % 恰为零",
    "{} factors are stored as {} with scales of their own, which no audit applies": (
        "{0} 个因子以 {1} 存储并带有各自的缩放系数，各项审计均未采用这些系数"
    ),
    "export it as BF16 or F16, with the scale multiplied in": "请把缩放系数乘入后以 BF16 或 F16 导出",
    "exported as {} the file would be half as large and hold the same": (
        "以 {0} 导出时文件大小减半而内容不变"
    ),
    "if it was not pruned on purpose, rounding took it: export it as BF16 or F32": (
        "若非有意剪枝，则是舍入所致：请以 BF16 或 F32 导出"
    ),
    "nothing to do: they are no better than their trainer saved them": (
        "无需处理：它们的精度就是训练器保存时的精度"
    ),
    "nothing says the scale of {} modules; 1 was taken": (
        "没有任何内容说明 {0} 个模块的缩放系数；已按 1 计算"
    ),
    "{} factors are stored as {} {}: see the dtype_loss audit": (
        "{0} 个因子以 {1} 存储，{2}：请参见数据类型精度损失审计"
    ),
    "without a scale": "没有缩放系数",
    "with scales that no audit applies": "其缩放系数没有任何审计会应用",
    "all {} modules of the {}'s blocks {} change nothing": (
        "{1} 第 {2} 块的全部 {0} 个模块不产生任何改变"
    ),
    "all {} modules of the {}'s blocks {} change nothing and were never trained": (
        "{1} 第 {2} 块的全部 {0} 个模块不产生任何改变，且从未受过训练"
    ),
    "all {} modules of the {}'s blocks {} change nothing; {} of them were never trained": (
        "{1} 第 {2} 块的全部 {0} 个模块不产生任何改变，其中 {3} 个从未受过训练"
    ),
    "all {} modules of the {} change nothing": "{1} 的全部 {0} 个模块不产生任何改变",
    "all {} modules of the {} change nothing and were never trained": (
        "{1} 的全部 {0} 个模块不产生任何改变，且从未受过训练"
    ),
    "all {} modules of the {} change nothing; {} of them were never trained": (
        "{1} 的全部 {0} 个模块不产生任何改变，其中 {2} 个从未受过训练"
    ),
    "changes nothing: it was never trained, one factor is still zero": (
        "不产生任何改变：从未受过训练，其中一个因子仍为零"
    ),
    "if they were not to be trained, export the adapter without them": (
        "若本就不打算训练它们，请在导出适配器时去掉"
    ),
    "of these never trained": "其中从未受过训练的",
}

_CLAIMS = {
    "claims": "声明",
    "headers": "头部",
    "files of weights": "权重文件",
    "{} doubts on {} claims": "{1} 项声明中有 {0} 处存疑",
    "keep config and weights of one training run together": "请使用同一次训练产生的配置与权重",
    "modules_to_save names {} layers that are not in the file": (
        "modules_to_save 列出了 {0} 个文件中没有的层"
    ),
    "such layers replace the base model's, so they do anything that a model can: "
    "know why they are there": "这类层会取代基础模型的层，能做模型所能做的一切：请弄清它们为何存在",
    "{} does not name {} of {} modules": "{0} 没有列出 {2} 个模块中的 {1} 个",
    "{} whole layers ({} MiB) are saved beside the modules": (
        "模块之外另存有 {0} 个完整的层（{1} MiB）"
    ),
    "{} whole layers ({} MiB) are saved beside the modules, {} of them undeclared": (
        "模块之外另存有 {0} 个完整的层（{1} MiB），其中 {2} 个未声明"
    ),
    "correct the header, or ask its owner what was trained": (
        "请更正头部，或向其所有者询问训练的内容"
    ),
    "correct the header, or ask its owner; loaders and web sites believe it": (
        "请更正头部，或询问其所有者；加载器与网站都会采信它"
    ),
    "ask its owner for which base model it is; nothing else in the header is sure then": (
        "请向其所有者询问它对应的基础模型；否则头部的其他内容也不可靠"
    ),
    "the header's lora_adapter_metadata is malformed, or would run code": (
        "头部的 lora_adapter_metadata 格式有误，或会执行代码"
    ),
    "save the adapter again without it, or ask its trainer for a sound one": (
        "请去掉它后重新保存适配器，或向训练者索取完好的文件"
    ),
}

_ROOM = {
    "{} places hold something that is no weights": "{0} 处含有并非权重的内容",
    "hidden so that it looks like noise": "隐藏得如同噪声的内容",
    "cannot be seen": "无法察觉",
    "ask whoever made the file what this is; do not hand it on before that is known": (
        "请询问文件制作者这是什么；在弄清之前不要转交"
    ),
    "ask whoever made the file what it is for; loaders do not need it": (
        "请询问文件制作者它的用途；加载器并不需要它"
    ),
    "begins with {}": "以{0}开头",
    "it bears the name of a text and is {}": "它以文本命名，实际是{0}",
    "its low {} bits are in use, those of {} like it are empty": (
        "它的低 {0} 位有内容，而同类的 {1} 个则为空"
    ),
    "save the file again with safetensors: that leaves it out": (
        "请用 safetensors 重新保存文件：多余内容会被去掉"
    ),
    "something follows after its JSON": "其 JSON 之后还有内容",
    "the header ends with {} blanks, writers need at most 7": (
        "头部以 {0} 个空白结尾，而写入程序最多需要 7 个"
    ),
    "the low {} bits are in use in {} stretches of 256 values and empty in {} others: "
    "no trainer rounds like that": (
        "低 {0} 位在 {1} 段（每段 256 个值）中有内容，在另外 {2} 段中为空：没有训练器会这样舍入"
    ),
    "the lowest {} bits of its values spell {}": "它的数值的最低 {0} 位拼出{1}",
    "{} blanks stand between the words of the header, where writers leave none": (
        "头部的词之间有 {0} 个空白，而写入程序不会留下空白"
    ),
    "{}, in {} stretches of 256 values": "{0}，共 {1} 段（每段 256 个值）",
    "holds {}": "含有{0}",
    "holds numbers beyond any weight": "含有超出任何权重范围的数",
    "{} bytes follow after its image": "其图像之后还有 {0} 字节",
    "{} bytes follow after its image: {}": "其图像之后还有 {0} 字节：{1}",
    "{} KiB in {} tensors belong to no module and no known extra": (
        "{1} 个张量共 {0} KiB，不属于任何模块，也不是已知的附加内容"
    ),
    "{} tensors {}": "{0} 个张量{1}",
    "hold nothing, so only their names say something": "没有内容，只有名称带有信息",
    "have the same content as another": "与另一个张量内容相同",
    "hold one number throughout": "通篇只有同一个数",
    "encrypted or compressed bytes": "加密或压缩过的数据",
    "a zip archive": " zip 压缩包",
    "a program (ELF)": "程序（ELF）",
    "a program (Mach-O)": "程序（Mach-O）",
    "a program (WebAssembly)": "程序（WebAssembly）",
    "a script": "脚本",
    "a PNG image": " PNG 图像",
    "a JPEG image": " JPEG 图像",
    "a PDF document": " PDF 文档",
    "an age file": " age 加密文件",
    "an armoured block": "带封装的文本块",
    "an encrypted file (OpenSSL)": "加密文件（OpenSSL）",
    "a pickle": " pickle 数据",
    "a gzip archive": " gzip 压缩包",
    "a bzip2 archive": " bzip2 压缩包",
    "an xz archive": " xz 压缩包",
    "a 7z archive": " 7z 压缩包",
    "a rar archive": " rar 压缩包",
    "a database (SQLite)": "数据库（SQLite）",
    "a GGUF file": " GGUF 文件",
    "another safetensors file": "另一个 safetensors 文件",
}

CHINESE_FILE: dict[str, str] = {**_SCALE, **_TYPES, **_CLAIMS, **_ROOM}
