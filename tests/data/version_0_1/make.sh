# Made with the commit 36a0e54 of distgan in an empty directory: OLD is a checkout of it, PY a Python that has its packages.
set -e
export PYTHONPATH=$OLD CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1
$PY -m distgan.cli prepare shapes --count 60 --shard-size 30 --out shapes
COMMON="data.path=shapes data.prepare=null data.classes=null run.dir=runs wandb.mode=disabled train.cpu_threads=1 train.batch_size=12
  log.every_steps=5 log.samples=4 checkpoint.every_steps=5 checkpoint.keep_last=1 evaluate.every_images=60 evaluate.count=20
  evaluate.reference_count=40 evaluate.extractor=none"
QUICK="generator.width=4 generator.stem_channels=4 generator.depth=1 discriminator.width=4 balance.enabled=true balance.every_steps=4"
$PY -m distgan.train $COMMON $QUICK augment.kind=ada augment.every_steps=3 augment.target=0.1 augment.speed_images=1000 run.name=half train.images=120
cp -r runs/half runs/whole
$PY -m distgan.train $COMMON $QUICK augment.kind=ada augment.every_steps=3 augment.target=0.1 augment.speed_images=1000 run.name=whole train.images=240
$PY -m distgan.train --config dcgan $COMMON run.name=dcgan train.images=24 generator.width=4 discriminator.width=4
$PY -m distgan.train --config sngan_conditional $COMMON run.name=sngan train.images=24 generator.width=4 discriminator.width=4
$PY -m distgan.train --config r3gan_small $COMMON run.name=r3gan train.images=24 generator.widths=16,16,8,8 discriminator.widths=16,16,8,8 generator.group_width=8 discriminator.group_width=8
for name in whole dcgan sngan r3gan; do
  mv runs/$name/generator.safetensors $name.safetensors
  $PY -m distgan.cli sample $name.safetensors --seeds 0-3 --out $name.npz
done
mv runs/half half
mv runs/whole/checkpoints/step-000000020 whole-step-000000020
rm -r runs half/report.html half/curves.png half/samples half/.lock
