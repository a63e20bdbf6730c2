r"""Your own pictures: a folder root/split/class/*.png|jpg, root/domain/class/*, or unlabelled.

Method: arXiv 2502.20141; recipe: our own, for photographs, and `gca_jax/config`.

    python main.py --mode=prepare --config=configs/folder.py --config.data.root=DIR  # once
    python main.py --config=configs/folder.py:gca_uot --config.data.root=DIR --workdir=runs/folder
    python main.py --config=configs/folder.py:gca_uot,smoke --config.data.root=DIR \
        --workdir=runs/smoke  # a minute

Domains are seen from the tree's depth, or said with `--config.data.domains=True`; to align by them,
`--config.target.name=blocks --config.target.alpha=0.01`. Pictures without labels may lie in DIR
itself, or at any depth with `--config.data.labelled=False`; a second folder, of labelled pictures
for the probes, is `--config.data.labelled_root=DIR`. `--config.data.labels=FILE.csv` has classes in
place of folders: a column of paths below DIR, one of labels.

Expected time: about 40 minutes for 10,000 pictures, an estimate (22 GFLOP an image), if the host
decodes 1,000 pictures a second.
Expected numbers: none published.
"""

from gca_jax import config


def get_config(options: str = "") -> config.ConfigDict:
    return config.make(
        "images",
        options,
        data=dict(name="folder", **config.PICTURES),
        side=224,
        augment=dict(policy="strong", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        train=dict(batch_size=128),  # fits one GPU at 224 pixels
        smoke=dict(size=64),
    )
